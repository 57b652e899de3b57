// What is recorded and what was seen, in the shape the timeline and the player ask for. Pure.

import type { Cause, Detection, Gap, Millis, Span } from "../api";
import type { View } from "./scale";

/** Fragments this far apart still count as one run. */
const JOIN_MS = 250;

/** Adds a fragment that just became durable to the spans (sorted by start), in place of asking the server again. */
export function extend(spans: readonly Span[], start: Millis, durationMs: number, bytes: number): Span[] {
  const last = spans[spans.length - 1];
  const end = start + durationMs;
  if (last && start >= last.start && start <= last.end + JOIN_MS) {
    const grown = { ...last, end: Math.max(last.end, end), fragments: last.fragments + 1, bytes: last.bytes + bytes };
    return [...spans.slice(0, -1), grown];
  }
  if (last && start < last.start) return [...spans];
  return [...spans, { start, end, fragments: 1, bytes }];
}

/** What the timeline says about an instant. */
export type Spot = { kind: "recorded"; span: Span } | { kind: "gap"; start: Millis; end: Millis; cause: Cause | null } | { kind: "none" };

export function spotAt(spans: readonly Span[], gaps: readonly Gap[], at: Millis): Spot {
  const span = spans.find((s) => at >= s.start && at < s.end);
  if (span) return { kind: "recorded", span };
  const gap = gaps.find((g) => at >= g.start && at < g.end);
  if (gap) return { kind: "gap", start: gap.start, end: gap.end, cause: gap.cause ?? null };
  const next = spans.findIndex((s) => s.start > at);
  const before = next > 0 ? spans[next - 1] : undefined;
  const after = spans[next];
  if (before && after) return { kind: "gap", start: before.end, end: after.start, cause: after.cause ?? null };
  return { kind: "none" };
}

/** Detections per bucket and class over a view. */
export function density(detections: readonly Detection[], view: View, buckets: number): Map<string, Uint16Array> {
  const out = new Map<string, Uint16Array>();
  const scale = buckets / (view.to - view.from);
  for (const detection of detections) {
    const bucket = Math.floor((detection.time - view.from) * scale);
    if (bucket < 0 || bucket >= buckets) continue;
    let row = out.get(detection.class);
    if (!row) out.set(detection.class, (row = new Uint16Array(buckets)));
    row[bucket] = Math.min(65_535, row[bucket]! + 1);
  }
  return out;
}

/** The index of the first detection (sorted by time) at or after `at`. */
export function lowerBound(detections: readonly Detection[], at: Millis): number {
  let low = 0;
  let high = detections.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (detections[middle]!.time < at) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * The boxes to draw over the picture of the instant `at`: those of the newest looked-at picture that is not later than
 * it (give or take a frame) and not older than `holdMs`.
 */
export function boxesAt(detections: readonly Detection[], at: Millis, holdMs: number): Detection[] {
  const end = lowerBound(detections, at + 25);
  const newest = detections[end - 1];
  if (!newest || newest.time < at - holdMs) return [];
  const out: Detection[] = [];
  for (let i = end - 1; i >= 0 && detections[i]!.time === newest.time; i--) out.unshift(detections[i]!);
  return out;
}

/** Merges new detections into sorted ones, dropping repeats and what is older than `keepFrom`. */
export function mergeDetections(known: readonly Detection[], more: readonly Detection[], keepFrom = 0): Detection[] {
  const kept = known.slice(lowerBound(known, keepFrom));
  const last = kept[kept.length - 1]?.time ?? -Infinity;
  const fresh = more.filter((d) => d.time >= keepFrom).sort((a, b) => a.time - b.time);
  // The usual case, once a second with a long list: everything new is later than everything known.
  if (fresh.every((d) => d.time > last)) return [...kept, ...fresh];
  const key = (d: Detection): string => `${d.time}/${d.class}/${d.bounds.join()}`;
  const seen = new Set(kept.map(key));
  return [...kept, ...fresh.filter((d) => !seen.has(key(d)))].sort((a, b) => a.time - b.time);
}

/** A media segment of a playlist: where it is in media time and at what wall-clock time. */
export interface TimedSegment {
  start: number;
  duration: number;
  programDateTime: number | null;
}

/**
 * The media time (seconds) of a wall-clock instant in a playlist. An instant in a gap becomes the first picture after it;
 * one past the end, `undefined`.
 */
export function mediaTimeOf(segments: readonly TimedSegment[], at: Millis): number | undefined {
  for (const segment of segments) {
    if (segment.programDateTime === null) continue;
    const end = segment.programDateTime + segment.duration * 1000;
    if (at < end) return segment.start + Math.max(0, (at - segment.programDateTime) / 1000);
  }
  return undefined;
}

/** The wall-clock instant of a media time, from the segment that covers it. */
export function wallTimeOf(segments: readonly TimedSegment[], mediaTime: number): Millis | undefined {
  for (let i = segments.length - 1; i >= 0; i--) {
    const segment = segments[i]!;
    if (segment.programDateTime === null || mediaTime < segment.start - 0.05) continue;
    return segment.programDateTime + Math.min(mediaTime - segment.start, segment.duration) * 1000;
  }
  return undefined;
}
