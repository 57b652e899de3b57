// Zones and boxes in picture coordinates (0–1 of width and height). Pure.

import type { Bounds, Corner } from "./api";

export const MAX_CORNERS = 32;

/** Keeps a corner in the picture, rounded to a ten-thousandth so that numbers stay readable. */
export function clampCorner([x, y]: Corner): Corner {
  const clamp = (v: number): number => Math.round(Math.min(1, Math.max(0, v)) * 10_000) / 10_000;
  return [clamp(x), clamp(y)];
}

export function moveCorner(zone: readonly Corner[], index: number, to: Corner): Corner[] {
  return zone.map((corner, i) => (i === index ? clampCorner(to) : corner));
}

/** Removes a corner; a zone of fewer than three corners is no zone any more, and becomes the whole picture. */
export function removeCorner(zone: readonly Corner[], index: number): Corner[] {
  const rest = zone.filter((_, i) => i !== index);
  return rest.length < 3 ? [] : rest;
}

/** Adds a corner in the middle of the edge after `index`. */
export function splitEdge(zone: readonly Corner[], index: number): Corner[] {
  const a = zone[index];
  const b = zone[(index + 1) % zone.length];
  if (!a || !b || zone.length >= MAX_CORNERS) return [...zone];
  const middle = clampCorner([(a[0] + b[0]) / 2, (a[1] + b[1]) / 2]);
  return [...zone.slice(0, index + 1), middle, ...zone.slice(index + 1)];
}

/** Adds a corner at a point, into the edge that is nearest to it. */
export function addCorner(zone: readonly Corner[], point: Corner): Corner[] {
  if (zone.length >= MAX_CORNERS) return [...zone];
  if (zone.length < 3) return [...zone, clampCorner(point)];
  let nearest = 0;
  let least = Infinity;
  zone.forEach((corner, i) => {
    const distance = distanceToSegment(point, corner, zone[(i + 1) % zone.length]!);
    if (distance < least) [least, nearest] = [distance, i];
  });
  return [...zone.slice(0, nearest + 1), clampCorner(point), ...zone.slice(nearest + 1)];
}

export function distanceToSegment([px, py]: Corner, [ax, ay]: Corner, [bx, by]: Corner): number {
  const [dx, dy] = [bx - ax, by - ay];
  const length2 = dx * dx + dy * dy;
  const t = length2 === 0 ? 0 : Math.min(1, Math.max(0, ((px - ax) * dx + (py - ay) * dy) / length2));
  return Math.hypot(px - ax - t * dx, py - ay - t * dy);
}

/** Whether a point is in a polygon (even-odd). An empty polygon is the whole picture. */
export function contains(zone: readonly Corner[], [x, y]: Corner): boolean {
  if (zone.length < 3) return true;
  let inside = false;
  for (let i = 0, j = zone.length - 1; i < zone.length; j = i++) {
    const [xi, yi] = zone[i]!;
    const [xj, yj] = zone[j]!;
    if (yi > y !== yj > y && x < ((xj - xi) * (y - yi)) / (yj - yi) + xi) inside = !inside;
  }
  return inside;
}

/** The point of a box that decides whether it is in a zone: the middle of its lower edge. */
export function anchorOf([left, , right, bottom]: Bounds): Corner {
  return [(left + right) / 2, bottom];
}

/** Whether two edges of the polygon cross, so that its inside is not what it seems. */
export function crossesItself(zone: readonly Corner[]): boolean {
  const n = zone.length;
  for (let i = 0; i < n; i++) {
    for (let j = i + 1; j < n; j++) {
      if (j === i + 1 || (i === 0 && j === n - 1)) continue;
      if (segmentsCross(zone[i]!, zone[(i + 1) % n]!, zone[j]!, zone[(j + 1) % n]!)) return true;
    }
  }
  return false;
}

function segmentsCross(a: Corner, b: Corner, c: Corner, d: Corner): boolean {
  const side = (p: Corner, q: Corner, r: Corner): number => Math.sign((q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0]));
  return side(a, b, c) * side(a, b, d) < 0 && side(c, d, a) * side(c, d, b) < 0;
}

/** A rectangle in pixels. */
export interface Rect {
  x: number;
  y: number;
  width: number;
  height: number;
}

/** Where a picture lies in its frame when it is shown whole (`object-fit: contain`). */
export function containRect(frameWidth: number, frameHeight: number, pictureWidth: number, pictureHeight: number): Rect {
  if (!(pictureWidth > 0 && pictureHeight > 0)) return { x: 0, y: 0, width: frameWidth, height: frameHeight };
  const scale = Math.min(frameWidth / pictureWidth, frameHeight / pictureHeight);
  const [width, height] = [pictureWidth * scale, pictureHeight * scale];
  return { x: (frameWidth - width) / 2, y: (frameHeight - height) / 2, width, height };
}

/** The number of columns for `count` tiles of a shape in a frame that makes the tiles largest. */
export function bestColumns(count: number, frameWidth: number, frameHeight: number, tileAspect: number, minTileWidth: number): number {
  if (count <= 1) return 1;
  const most = Math.max(1, Math.floor(frameWidth / minTileWidth));
  let best = 1;
  let bestWidth = 0;
  for (let columns = 1; columns <= Math.min(count, most); columns++) {
    const rows = Math.ceil(count / columns);
    const width = Math.min(frameWidth / columns, (frameHeight / rows) * tileAspect);
    // A little smaller is fine when it fills the width instead of leaving bars at the sides.
    if (width > bestWidth * 0.93) [best, bestWidth] = [columns, width];
  }
  // When even the best would be too small to read, tiles keep their least width and the wall scrolls.
  return bestWidth < minTileWidth ? most : best;
}
