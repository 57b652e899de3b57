// Beside the picture: recent alerts, rules, and the facts of the camera.

import type { Signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import type { Camera, Rule } from "../api";
import { api, messageOf } from "../client";
import { bitrate, describe, fps, moment, span } from "../format";
import type { ReceiveFigures } from "../player/whep";
import { zone } from "../prefs";
import { isPushed } from "../pushed";
import { go, hrefTo } from "../router";
import { recentAlerts, refreshCameras } from "../state";
import { ConfirmButton, ErrorNote } from "../ui/bits";
import { AlertRow } from "./alert-row";
import { KeptSection } from "./kept";
import { Rules } from "./rules";

interface Props {
  camera: Camera;
  /** What this viewer receives, when that is known. */
  figures: ReceiveFigures | undefined;
  editing: Signal<Rule | undefined>;
  now: number;
}

const SHOWN_ALERTS = 5;

export function CameraPanel({ camera, figures, editing, now }: Props) {
  const alerts = (recentAlerts.value.items ?? []).filter((alert) => alert.stream === camera.name).slice(0, SHOWN_ALERTS);
  return (
    <aside class="panel" aria-label={`About ${camera.name}`}>
      {!editing.value && (
        <section>
          <header class="section-head">
            <h2>Recent alerts</h2>
            <a href={hrefTo.alerts(camera.name)}>All</a>
          </header>
          {alerts.length === 0 ? <p class="hint">None yet. A rule raises an alert when it sees what it looks for.</p> : alerts.map((alert) => <AlertRow key={alert.id} alert={alert} compact />)}
        </section>
      )}
      <Rules stream={camera.name} editing={editing} />
      {!editing.value && <KeptSection key={camera.name} camera={camera} />}
      {!editing.value && <Facts camera={camera} figures={figures} now={now} />}
    </aside>
  );
}

const CLOCKS: Record<string, string> = {
  sender_reports: "the camera’s (RTCP sender reports)",
  arrival: "arrival at this server",
};

/** A long wait for key frames is felt at every start and seek. */
const LONG_KEY_INTERVAL_MS = 4000;

function Facts({ camera, figures, now }: Omit<Props, "editing">) {
  const { status } = camera;
  const pushed = isPushed(camera);
  const facts: [string, ComponentChildren][] = [];
  const add = (name: string, value: ComponentChildren): void => void facts.push([name, value]);
  if (camera.description) add("Media", describe(camera.description));
  if (camera.bitrate_bps > 0 || !pushed) add("Rate", `${bitrate(camera.bitrate_bps)} · ${fps(camera.fps)}`);
  if (figures) add("Received here", `${bitrate(figures.bitrateBps)} · ${fps(figures.fps)} · ${figures.lost} packets lost · ${figures.dropped} pictures dropped`);
  if (camera.key_interval_ms) add("Key frames", `every ${(camera.key_interval_ms / 1000).toFixed(1)} s${camera.key_interval_ms > LONG_KEY_INTERVAL_MS ? `: starts and seeks are slow; shorten it in the ${pushed ? "producer" : "camera"}` : ""}`);
  if (camera.description) add("B-frames", camera.has_b_frames ? "yes: WebRTC cannot show them, so the live picture comes by HLS, later" : "none");
  if (status.state === "live") {
    add("Clock", CLOCKS[status.clock] ?? status.clock);
    add("Pulled by", status.via);
  }
  if ("since" in status) add(status.state === "live" ? "Live since" : "Since", `${moment(status.since, now, zone.value)} (${span(Math.max(0, now - status.since))})`);
  if (!pushed) add("Reconnects", String(camera.reconnects));
  if (camera.dropped_gops > 0) add("Dropped", `${camera.dropped_gops} groups of pictures, the memory budget was full`);
  if (camera.last_commit_at) add("Durable", `${span(Math.max(0, now - camera.last_commit_at))} ago`);
  if (!pushed) add("Address", <code>{camera.url}</code>);
  if (camera.username) add("User", `${camera.username}${camera.has_password ? ", with a password" : ""}`);
  return (
    <section>
      <h2>{pushed ? "Stream" : "Camera"}</h2>
      <dl class="facts">
        {facts.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
      <Operations camera={camera} />
    </section>
  );
}

function Operations({ camera }: { camera: Camera }) {
  const [error, setError] = useState<string | undefined>(undefined);
  const run = (work: () => Promise<unknown>, then?: () => void): void => {
    setError(undefined);
    work()
      .then(refreshCameras)
      .then(then)
      .catch((thrown: unknown) => setError(messageOf(thrown)));
  };
  if (isPushed(camera)) {
    return (
      <>
        {error && <ErrorNote message={error} />}
        <div class="row-actions">
          <ConfirmButton icon="trash" label="Delete stream" question="Really delete it and all its recordings?" onConfirm={() => run(() => api.deleteStream(camera.name), () => go(hrefTo.wall))} />
        </div>
        <p class="hint">No camera of this server records it: producers push to it (PutMedia), or its camera was removed.</p>
      </>
    );
  }
  if (camera.from_config) return <p class="hint">This camera stands in the config file; change it there.</p>;
  return (
    <>
      {error && <ErrorNote message={error} />}
      <div class="row-actions">
        <button type="button" class="button quiet" onClick={() => run(() => api.enableCamera(camera.name, !camera.enabled))}>
          {camera.enabled ? "Disable" : "Enable"}
        </button>
        <ConfirmButton icon="trash" label="Remove camera" question="Really remove it?" onConfirm={() => run(() => api.deleteCamera(camera.name), () => go(hrefTo.wall))} />
      </div>
      <p class="hint">Removing a camera keeps what is recorded.</p>
    </>
  );
}
