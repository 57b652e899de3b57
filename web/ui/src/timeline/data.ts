// Loads what a timeline shows: coverage, detections and alerts of a stream, for a little more than the view, and keeps the
// live end growing by events.

import { signal, type Signal } from "@preact/signals";
import type { Alert, Detection, Gap, Span, Timeline } from "../api";
import { api, messageOf, PAGE } from "../client";
import { events, serverNow } from "../state";
import { extend, mergeDetections } from "./model";
import { spanOf, type View } from "./scale";

export interface TimelineData {
  spans: Span[];
  gaps: Gap[];
  detections: Detection[];
  alerts: Alert[];
  /** There were more detections in the range than are read for a picture of this width. */
  truncated: boolean;
}

const NOTHING: TimelineData = { spans: [], gaps: [], detections: [], alerts: [], truncated: false };

/** Pages of detections that one look may read. */
const MAX_PAGES = 6;
const MAX_ALERTS = 500;

async function readDetections(stream: string, range: View, signal: AbortSignal): Promise<{ detections: Detection[]; truncated: boolean }> {
  const detections: Detection[] = [];
  let from = range.from;
  for (let page = 0; page < MAX_PAGES; page++) {
    const more = await api.detections(stream, from, range.to, signal);
    detections.push(...more);
    const last = more[more.length - 1];
    if (more.length < PAGE || !last) return { detections, truncated: false };
    from = last.time + 1;
  }
  return { detections, truncated: true };
}

async function readTimeline(stream: string, range: View, signal: AbortSignal): Promise<Pick<TimelineData, "spans" | "gaps">> {
  const all = { spans: [] as Span[], gaps: [] as Gap[] };
  let from: number | undefined = range.from;
  for (let page = 0; page < MAX_PAGES && from !== undefined && from < range.to; page++) {
    const { spans, gaps, next }: Timeline = await api.timeline(stream, from, range.to, signal);
    all.spans.push(...spans);
    all.gaps.push(...gaps);
    from = next ?? undefined;
  }
  return all;
}

export class TimelineSource {
  readonly data: Signal<TimelineData> = signal(NOTHING);
  readonly error = signal<string | undefined>(undefined);
  readonly loaded = signal(false);

  #range: View | undefined;
  #resolution = 0;
  #view: View | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #abort: AbortController | undefined;
  #stops: (() => void)[];

  constructor(private readonly stream: string) {
    this.#stops = [
      events.on("fragment", (f) => {
        if (f.stream !== stream) return;
        // What could not be read before (a stream that had just been made) may be there now.
        if (!this.#range) return this.#reload(1000);
        if (f.producer_start > this.#range.to) return;
        const spans = extend(this.data.value.spans, f.producer_start, f.duration_ms, f.bytes);
        // A new run: only the server knows what the gap before it was caused by.
        if (spans.length > this.data.value.spans.length) this.#reload(1500);
        this.data.value = { ...this.data.value, spans };
      }),
      events.on("detections", (d) => {
        if (d.stream === stream && this.#range) this.data.value = { ...this.data.value, detections: mergeDetections(this.data.value.detections, d.detections) };
      }),
      events.on("alert", (alert) => {
        if (alert.stream === stream) this.data.value = { ...this.data.value, alerts: [alert, ...this.data.value.alerts] };
      }),
    ];
  }

  /** Makes sure that the view is covered; reads when it is not, once the view rests. */
  want(view: View): void {
    this.#view = view;
    const covered = this.#range && view.from >= this.#range.from && Math.min(view.to, serverNow()) <= this.#range.to;
    const fine = spanOf(view) > this.#resolution / 8 || !this.data.value.truncated;
    if (covered && fine) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#load(view), this.#range ? 180 : 0);
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#abort?.abort();
    for (const stop of this.#stops) stop();
  }

  #reload(afterMs: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#view && void this.#load(this.#view), afterMs);
  }

  async #load(view: View): Promise<void> {
    this.#abort?.abort();
    const abort = new AbortController();
    this.#abort = abort;
    const present = serverNow();
    const margin = spanOf(view) / 2;
    const range = { from: view.from - margin, to: Math.min(view.to + margin, present) };
    const read = { from: Math.floor(range.from), to: Math.ceil(range.to) };
    try {
      const [timeline, seen, alerts] = await Promise.all([
        readTimeline(this.stream, read, abort.signal),
        readDetections(this.stream, read, abort.signal),
        api.alerts({ stream: this.stream, ...read, limit: MAX_ALERTS }, abort.signal),
      ]);
      // A range that reaches the present stays covered: events bring what comes.
      this.#range = { from: range.from, to: range.to >= present ? Infinity : range.to };
      this.#resolution = spanOf(view);
      this.data.value = { ...timeline, detections: seen.detections, alerts, truncated: seen.truncated };
      this.error.value = undefined;
      this.loaded.value = true;
    } catch (thrown) {
      if (abort.signal.aborted) return;
      this.error.value = messageOf(thrown);
    }
  }
}
