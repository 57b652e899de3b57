// Painting of the timeline: alerts, detections, coverage, time axis, playhead.

import type { Alert, Detection, Millis } from "../api";
import { colourOf } from "../classes";
import { clock, clockMinutes, dayShort, type Zone } from "../format";
import { density } from "./model";
import { DAY, HOUR, MINUTE, spanOf, ticks, tickStep, xOf, type View } from "./scale";
import type { TimelineData } from "./data";

export const LANES = { alerts: 22, detections: 44, coverage: 16, axis: 24, space: 5 };
export const HEIGHT = LANES.alerts + LANES.detections + LANES.coverage + LANES.axis + 3 * LANES.space;

/** Top of each lane. */
export const TOP = {
  alerts: 0,
  detections: LANES.alerts + LANES.space,
  coverage: LANES.alerts + LANES.detections + 2 * LANES.space,
  axis: LANES.alerts + LANES.detections + LANES.coverage + 3 * LANES.space,
};

/** Colours from the page's theme. */
export interface Palette {
  ink: string;
  quiet: string;
  line: string;
  lane: string;
  coverage: string;
  gap: string;
  alert: string;
  accent: string;
  font: string;
}

export function paletteOf(element: Element): Palette {
  const style = getComputedStyle(element);
  const read = (name: string): string => style.getPropertyValue(name).trim();
  return {
    ink: read("--ink"),
    quiet: read("--ink-3"),
    line: read("--line"),
    lane: read("--lane"),
    coverage: read("--coverage"),
    gap: read("--gap"),
    alert: read("--alert"),
    accent: read("--accent"),
    font: `11px ${style.fontFamily}`,
  };
}

export interface Scene {
  view: View;
  width: number;
  data: TimelineData;
  now: Millis;
  /** The moment that is shown by the player; the present, when live. */
  playhead: Millis | undefined;
  live: boolean;
  hover: Millis | undefined;
  zone: Zone;
}

export function draw(canvas: HTMLCanvasElement, palette: Palette, scene: Scene): void {
  const ratio = devicePixelRatio || 1;
  const [w, h] = [Math.round(scene.width * ratio), Math.round(HEIGHT * ratio)];
  if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
  const pen = canvas.getContext("2d");
  if (!pen) return;
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, scene.width, HEIGHT);
  drawAxis(pen, palette, scene);
  drawCoverage(pen, palette, scene);
  drawDetections(pen, palette, scene);
  drawAlerts(pen, palette, scene, scene.data.alerts);
  drawFuture(pen, palette, scene);
  if (scene.hover !== undefined) drawNeedle(pen, xOf(scene.view, scene.width, scene.hover), palette.quiet, 1);
  if (scene.playhead !== undefined) drawPlayhead(pen, palette, scene);
}

function drawAxis(pen: CanvasRenderingContext2D, palette: Palette, { view, width, zone }: Scene): void {
  const offset = (at: Millis): number => (zone === "utc" ? 0 : -new Date(at).getTimezoneOffset() * MINUTE);
  const step = tickStep(view, width, 78);
  pen.font = palette.font;
  pen.textBaseline = "middle";
  pen.textAlign = "center";
  for (const at of ticks(view, step, offset)) {
    const x = Math.round(xOf(view, width, at)) + 0.5;
    const midnight = (at + offset(at)) % DAY === 0;
    pen.strokeStyle = palette.line;
    pen.globalAlpha = midnight ? 1 : 0.6;
    pen.beginPath();
    pen.moveTo(x, 0);
    pen.lineTo(x, TOP.axis + 4);
    pen.stroke();
    pen.globalAlpha = 1;
    pen.fillStyle = midnight ? palette.ink : palette.quiet;
    const label = midnight && step >= MINUTE ? dayShort(at, zone) : step < MINUTE ? clock(at, zone) : clockMinutes(at, zone);
    const half = pen.measureText(label).width / 2 + 2;
    pen.fillText(label, Math.min(width - half, Math.max(half, x)), TOP.axis + 14);
  }
}

function drawCoverage(pen: CanvasRenderingContext2D, palette: Palette, { view, width, data }: Scene): void {
  const { coverage: top } = TOP;
  pen.fillStyle = palette.lane;
  pen.fillRect(0, top, width, LANES.coverage);
  // Gaps first, hatched; what is recorded covers them, so that a short gap never hides a recording.
  for (const gap of data.gaps) {
    if (gap.cause === "start") continue;
    const [x1, x2] = [xOf(view, width, gap.start), xOf(view, width, gap.end)];
    if (x2 < 0 || x1 > width) continue;
    hatch(pen, palette, Math.max(0, x1), top, Math.max(1.5, Math.min(width, x2) - Math.max(0, x1)));
  }
  pen.fillStyle = palette.coverage;
  for (const span of data.spans) {
    const [x1, x2] = [Math.max(0, xOf(view, width, span.start)), Math.min(width, xOf(view, width, span.end))];
    if (x2 > 0 && x1 < width) pen.fillRect(x1, top, Math.max(1, x2 - x1), LANES.coverage);
  }
}

function hatch(pen: CanvasRenderingContext2D, palette: Palette, x: number, y: number, width: number): void {
  pen.save();
  pen.beginPath();
  pen.rect(x, y, width, LANES.coverage);
  pen.clip();
  pen.strokeStyle = palette.gap;
  pen.lineWidth = 1.5;
  pen.beginPath();
  for (let i = Math.floor(x / 6) * 6 - LANES.coverage; i < x + width; i += 6) {
    pen.moveTo(i, y + LANES.coverage);
    pen.lineTo(i + LANES.coverage, y);
  }
  pen.stroke();
  pen.restore();
}

/** Stacked bars, one colour a class, scaled to the fullest bar in view. */
function drawDetections(pen: CanvasRenderingContext2D, palette: Palette, { view, width, data }: Scene): void {
  const { detections: top } = TOP;
  const bar = 4;
  const buckets = Math.max(1, Math.floor(width / bar));
  const rows = [...density(data.detections, view, buckets)].sort(([a], [b]) => a.localeCompare(b));
  const totals = new Uint32Array(buckets);
  for (const [, row] of rows) row.forEach((count, i) => (totals[i] = totals[i]! + count));
  const most = Math.max(1, ...totals);
  const scale = (count: number): number => Math.sqrt(count / most) * (LANES.detections - 2);
  pen.fillStyle = palette.line;
  pen.fillRect(0, top + LANES.detections - 0.5, width, 0.5);
  const filled = new Float32Array(buckets);
  for (const [name, row] of rows) {
    pen.fillStyle = colourOf(name);
    for (let i = 0; i < buckets; i++) {
      if (row[i] === 0) continue;
      const height = Math.max(1.5, scale(totals[i]!) * (row[i]! / totals[i]!));
      filled[i] = filled[i]! + height;
      pen.fillRect(i * bar, top + LANES.detections - filled[i]!, bar - 1, height);
    }
  }
}

function drawAlerts(pen: CanvasRenderingContext2D, palette: Palette, { view, width }: Scene, alerts: readonly Alert[]): void {
  for (const alert of alerts) {
    const x = xOf(view, width, alert.detection.time);
    if (x < -6 || x > width + 6) continue;
    pen.fillStyle = palette.alert;
    pen.beginPath();
    pen.moveTo(x - 5, 4);
    pen.lineTo(x + 5, 4);
    pen.lineTo(x, LANES.alerts - 4);
    pen.closePath();
    pen.fill();
  }
}

/** What has not happened yet is veiled. */
function drawFuture(pen: CanvasRenderingContext2D, palette: Palette, { view, width, now }: Scene): void {
  const x = xOf(view, width, now);
  if (x >= width) return;
  pen.globalAlpha = 0.5;
  pen.fillStyle = palette.lane;
  pen.fillRect(x, 0, width - x, TOP.axis);
  pen.globalAlpha = 1;
}

function drawNeedle(pen: CanvasRenderingContext2D, x: number, colour: string, width: number): void {
  pen.fillStyle = colour;
  pen.fillRect(Math.round(x) - width / 2, 0, width, TOP.axis);
}

function drawPlayhead(pen: CanvasRenderingContext2D, palette: Palette, scene: Scene): void {
  const x = xOf(scene.view, scene.width, scene.playhead!);
  if (x < -8 || x > scene.width + 8) return;
  drawNeedle(pen, x, palette.accent, 2);
  pen.fillStyle = palette.accent;
  pen.beginPath();
  pen.arc(x, TOP.axis - 1, scene.live ? 4 : 5, 0, Math.PI * 2);
  pen.fill();
}

/** The alert under a pointer, if it is on one. */
export function alertAt(scene: Pick<Scene, "view" | "width" | "data">, x: number, y: number): Alert | undefined {
  if (y > LANES.alerts + 4) return undefined;
  const near = (alert: Alert): number => Math.abs(xOf(scene.view, scene.width, alert.detection.time) - x);
  const best = scene.data.alerts.reduce<Alert | undefined>((a, b) => (a === undefined || near(b) < near(a) ? b : a), undefined);
  return best && near(best) <= 8 ? best : undefined;
}

/** Detections around an instant, by class: for the tooltip. */
export function countsAround(detections: readonly Detection[], at: Millis, radius: number): [string, number][] {
  const counts = new Map<string, number>();
  for (const d of detections) if (Math.abs(d.time - at) <= radius) counts.set(d.class, (counts.get(d.class) ?? 0) + 1);
  return [...counts].sort((a, b) => b[1] - a[1]);
}

/** The spans that the zoom buttons offer. */
export const SPANS: { label: string; ms: number }[] = [
  { label: "1 min", ms: MINUTE },
  { label: "10 min", ms: 10 * MINUTE },
  { label: "1 h", ms: HOUR },
  { label: "6 h", ms: 6 * HOUR },
  { label: "1 d", ms: DAY },
  { label: "7 d", ms: 7 * DAY },
];

export function nearestSpan(view: View): number {
  return SPANS.findIndex(({ ms }) => Math.abs(spanOf(view) / ms - 1) < 0.02);
}
