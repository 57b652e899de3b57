// Boxes over a picture, on a canvas that lies exactly over it. One drawing for live, recorded and snapshot pictures.

import type { Corner, Detection } from "../api";
import { colourOf } from "../classes";
import { percent } from "../format";
import { containRect } from "../geometry";

export interface Overlay {
  detections: readonly Pick<Detection, "class" | "score" | "bounds">[];
  /** A zone to outline, if any. */
  zone?: readonly Corner[];
  /** Class and score beside each box; small tiles leave them out. */
  labels: boolean;
}

/** Draws over a picture that is shown whole and centred in the canvas's frame (`object-fit: contain`). */
export function drawOverlay(canvas: HTMLCanvasElement, pictureWidth: number, pictureHeight: number, overlay: Overlay): void {
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  const density = devicePixelRatio || 1;
  const [w, h] = [Math.round(width * density), Math.round(height * density)];
  if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
  const pen = canvas.getContext("2d");
  if (!pen) return;
  pen.setTransform(density, 0, 0, density, 0, 0);
  pen.clearRect(0, 0, width, height);
  const at = containRect(width, height, pictureWidth, pictureHeight);
  const px = (x: number): number => at.x + x * at.width;
  const py = (y: number): number => at.y + y * at.height;

  if (overlay.zone && overlay.zone.length >= 3) {
    pen.beginPath();
    overlay.zone.forEach(([x, y], i) => (i === 0 ? pen.moveTo(px(x), py(y)) : pen.lineTo(px(x), py(y))));
    pen.closePath();
    pen.setLineDash([6, 5]);
    pen.lineWidth = 1.5;
    pen.strokeStyle = "rgba(255,255,255,.75)";
    pen.stroke();
    pen.setLineDash([]);
  }

  const line = Math.max(1.5, Math.min(3, at.width / 420));
  for (const detection of overlay.detections) {
    const [left, top, right, bottom] = detection.bounds;
    const [x, y, boxWidth, boxHeight] = [px(left), py(top), (right - left) * at.width, (bottom - top) * at.height];
    const colour = colourOf(detection.class);
    // A dark line under the coloured one keeps it visible on bright pictures.
    pen.lineWidth = line + 2;
    pen.strokeStyle = "rgba(8,10,12,.55)";
    pen.strokeRect(x, y, boxWidth, boxHeight);
    pen.lineWidth = line;
    pen.strokeStyle = colour;
    pen.strokeRect(x, y, boxWidth, boxHeight);
    if (overlay.labels) drawLabel(pen, `${detection.class} ${percent(detection.score)}`, x, y, colour, at);
  }
}

function drawLabel(pen: CanvasRenderingContext2D, text: string, x: number, y: number, colour: string, at: { x: number; y: number; width: number }): void {
  pen.font = "600 11px ui-sans-serif, system-ui, sans-serif";
  const width = pen.measureText(text).width + 8;
  const left = Math.max(at.x, Math.min(x - 1, at.x + at.width - width));
  const top = y - 17 < at.y ? y + 2 : y - 17;
  pen.fillStyle = colour;
  pen.fillRect(left, top, width, 16);
  pen.fillStyle = "#14171a";
  pen.textBaseline = "middle";
  pen.fillText(text, left + 4, top + 8.5);
}
