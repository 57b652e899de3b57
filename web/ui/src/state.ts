// What the page knows: signals filled by the REST API and kept fresh by the event stream.

import { computed, signal, type Signal } from "@preact/signals";
import type { Alert, Camera, Detection, Millis, Rule, Server, Target } from "./api";
import { api, messageOf } from "./client";
import { EventLink, type LinkState } from "./events";
import { withPushed } from "./pushed";
import { mergeDetections } from "./timeline/model";

/** A list from the server: not here yet, here, or why it could not be read. */
export interface Loaded<T> {
  items: T[] | undefined;
  error: string | undefined;
}

const nothing = { items: undefined, error: undefined };

export const cameras: Signal<Loaded<Camera>> = signal(nothing);
export const rules: Signal<Loaded<Rule>> = signal(nothing);
export const targets: Signal<Loaded<Target>> = signal(nothing);
/** The newest alerts of all streams, newest first. */
export const recentAlerts: Signal<Loaded<Alert>> = signal(nothing);
export const server = signal<Server | undefined>(undefined);
export const link = signal<LinkState>("connecting");

let clockSkewMs = 0;
/** The server's time now. */
export const serverNow = (): Millis => Date.now() + clockSkewMs;
/** The server's time, once a second. */
export const now = signal<Millis>(Date.now());

/** How many recent alerts are kept. */
const RECENT = 60;
/** How long live detections are kept, for players that run behind the present. */
const KEEP_DETECTIONS_MS = 60_000;

async function refresh<T>(target: Signal<Loaded<T>>, read: () => Promise<T[]>): Promise<void> {
  try {
    target.value = { items: await read(), error: undefined };
  } catch (thrown) {
    target.value = { items: target.value.items, error: messageOf(thrown) };
  }
}

/** Streams without a camera are among them. */
export const refreshCameras = (): Promise<void> =>
  refresh(cameras, async () => {
    const [own, streams] = await Promise.all([api.cameras(), api.streams()]);
    return withPushed(own, streams);
  });
export const refreshRules = (): Promise<void> => refresh(rules, api.rules);
export const refreshTargets = (): Promise<void> => refresh(targets, api.targets);
export const refreshAlerts = (): Promise<void> => refresh(recentAlerts, () => api.alerts({ limit: RECENT }));

async function refreshServer(): Promise<void> {
  const before = Date.now();
  try {
    server.value = await api.server();
    clockSkewMs = server.value.now_ms - (before + Date.now()) / 2;
  } catch {
    // The link's state already says that the server is away.
  }
}

export function cameraOf(name: string): Camera | undefined {
  return cameras.value.items?.find((camera) => camera.name === name);
}

/** The alert of each stream that is recent enough to be pointed out. */
export const ALERT_GLOW_MS = 12_000;
export const glowing = computed(() => {
  const out = new Map<string, Alert>();
  for (const alert of recentAlerts.value.items ?? []) {
    if (now.value - alert.raised_at < ALERT_GLOW_MS && !out.has(alert.stream)) out.set(alert.stream, alert);
  }
  return out;
});

/** What was seen on a stream in the last minute, sorted by time. `arrived` is when the newest came, by this machine's clock. */
export interface Seen {
  detections: Detection[];
  arrived: number;
}

const seen = new Map<string, Signal<Seen>>();

export function seenOn(stream: string): Signal<Seen> {
  let entry = seen.get(stream);
  if (!entry) seen.set(stream, (entry = signal({ detections: [], arrived: 0 })));
  return entry;
}

/** Class names met so far, for the choice in the rule editor. */
export const knownClasses = signal<string[]>(["person", "bicycle", "car"]);

function noteClasses(detections: readonly { class: string }[]): void {
  const more = detections.map((d) => d.class).filter((name) => !knownClasses.value.includes(name));
  if (more.length > 0) knownClasses.value = [...knownClasses.value, ...new Set(more)];
}

export const events = new EventLink({
  open: () => new EventSource("/v1/events"),
  resync: () => {
    void refreshServer();
    void refreshCameras();
    void refreshRules();
    void refreshTargets();
    void refreshAlerts();
  },
  state: (state) => {
    link.value = state;
    // An error of the event stream may be an ended session: any call tells, and leads to the sign-in page.
    if (state === "lost") void refreshCameras();
  },
});

/** Runs a refresh at most once per `ms`, and once more at the end of a burst. */
function calmly(run: () => Promise<void>, ms: number): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  return () => {
    timer ??= setTimeout(() => {
      timer = undefined;
      void run();
    }, ms);
  };
}

/** Starts the event stream, the clock, and the slow refresh of figures that have no events. */
export function startState(): void {
  const camerasSoon = calmly(refreshCameras, 150);
  events.on("cameras", camerasSoon);
  events.on("streams", camerasSoon);
  events.on("rules", calmly(refreshRules, 150));
  events.on("targets", calmly(refreshTargets, 150));
  events.on("deliveries", calmly(refreshAlerts, 700));
  events.on("alert", (alert) => {
    const rest = (recentAlerts.value.items ?? []).filter((known) => known.id !== alert.id);
    recentAlerts.value = { items: [alert, ...rest].slice(0, RECENT), error: undefined };
  });
  events.on("detections", ({ stream, detections }) => {
    if (detections.length === 0) return;
    noteClasses(detections);
    const entry = seenOn(stream);
    const newest = detections[detections.length - 1]!.time;
    entry.value = { detections: mergeDetections(entry.value.detections, detections, newest - KEEP_DETECTIONS_MS), arrived: performance.now() };
  });
  events.start();
  setInterval(() => (now.value = serverNow()), 1000);
  setInterval(() => {
    if (!document.hidden) void refreshCameras();
  }, 4000);
  addEventListener("online", () => events.start());
}
