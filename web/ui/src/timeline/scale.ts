// The timeline's arithmetic: instants to pixels and back, zooming, panning, tick marks. Pure.

import type { Millis } from "../api";

/** What the timeline shows: from the left edge to the right edge. */
export interface View {
  from: Millis;
  to: Millis;
}

export const MINUTE = 60_000;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;
export const MIN_SPAN = MINUTE;
export const MAX_SPAN = 7 * DAY;

export function spanOf(view: View): number {
  return view.to - view.from;
}

export function xOf(view: View, width: number, at: Millis): number {
  return ((at - view.from) / spanOf(view)) * width;
}

export function timeAt(view: View, width: number, x: number): Millis {
  return view.from + (x / width) * spanOf(view);
}

/** Keeps the span within limits and the right edge at most a twentieth of the span past the present. */
export function clampView(view: View, now: Millis): View {
  const span = Math.min(MAX_SPAN, Math.max(MIN_SPAN, spanOf(view)));
  const latest = now + span / 20;
  const earliest = now - MAX_SPAN;
  let from = view.from + (spanOf(view) - span) / 2;
  from = Math.min(from, latest - span);
  from = Math.max(from, Math.min(earliest, latest - span));
  return { from, to: from + span };
}

/** Shows `factor` times as much, with the instant `anchor` staying where it is. */
export function zoom(view: View, factor: number, anchor: Millis, now: Millis): View {
  const span = Math.min(MAX_SPAN, Math.max(MIN_SPAN, spanOf(view) * factor));
  const share = (anchor - view.from) / spanOf(view);
  const from = anchor - share * span;
  return clampView({ from, to: from + span }, now);
}

export function pan(view: View, by: number, now: Millis): View {
  return clampView({ from: view.from + by, to: view.to + by }, now);
}

/** Moves the view as little as needed for `at` to be in it, with a margin. */
export function reveal(view: View, at: Millis, now: Millis): View {
  const margin = spanOf(view) * 0.08;
  if (at < view.from + margin) return pan(view, at - view.from - margin, now);
  if (at > view.to - margin) return pan(view, at - view.to + margin, now);
  return view;
}

/** A view of `span` that ends at the present. */
export function atPresent(span: number, now: Millis): View {
  return clampView({ from: now + span / 20 - span, to: now + span / 20 }, now);
}

const STEPS = [
  1000, 2000, 5000, 10_000, 15_000, 30_000, MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR,
  3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY,
];

/** The smallest step between labels that leaves each `minPx` of room. */
export function tickStep(view: View, width: number, minPx: number): number {
  const least = (spanOf(view) / width) * minPx;
  return STEPS.find((step) => step >= least) ?? STEPS[STEPS.length - 1]!;
}

/**
 * Instants at round wall-clock times, `step` apart. `offsetMs` gives the zone's offset from UTC at an instant, so that
 * ticks stay on round hours across a change to or from summer time.
 */
export function ticks(view: View, step: number, offsetMs: (at: Millis) => number): Millis[] {
  const out: Millis[] = [];
  let local = Math.ceil((view.from + offsetMs(view.from)) / step) * step;
  for (let i = 0; i < 1000; i++, local += step) {
    const guess = local - offsetMs(view.from);
    const at = local - offsetMs(guess);
    if (at > view.to) break;
    if (at >= view.from && at !== out[out.length - 1]) out.push(at);
  }
  return out;
}

/** The window of the past that is loaded to play the moment `at`: a little before it, half an hour after it. */
export function playWindow(at: Millis, now: Millis): View {
  const from = Math.floor((at - 2 * MINUTE) / MINUTE) * MINUTE;
  return { from, to: Math.min(Math.floor(now), from + 30 * MINUTE) };
}
