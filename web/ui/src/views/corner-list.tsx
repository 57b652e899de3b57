// The corners of a zone as numbers: the zone editor for keyboards and screen readers.

import type { Corner } from "../api";
import { MAX_CORNERS, moveCorner, removeCorner, splitEdge } from "../geometry";
import { IconButton } from "../ui/bits";

/** The zone to begin with: the lower two thirds of the picture, where things stand. */
const FIRST_ZONE: Corner[] = [[0.15, 0.35], [0.85, 0.35], [0.95, 0.95], [0.05, 0.95]];

export function CornerList({ zone, onChange }: { zone: Corner[]; onChange: (zone: Corner[]) => void }) {
  const set = (index: number, axis: 0 | 1, text: string): void => {
    const value = Number(text) / 100;
    const corner = zone[index];
    if (!corner || !Number.isFinite(value)) return;
    onChange(moveCorner(zone, index, axis === 0 ? [value, corner[1]] : [corner[0], value]));
  };
  if (zone.length < 3) {
    return (
      <div class="field">
        <span class="label">Zone</span>
        <p class="hint">The whole picture.</p>
        <button type="button" class="button" onClick={() => onChange(FIRST_ZONE)}>
          Draw a zone
        </button>
      </div>
    );
  }
  return (
    <fieldset class="corners">
      <legend>Zone</legend>
      <p class="hint">Drag corners in the picture, double-click to add one, or type where they are, in percent. An object counts when the middle of its lower edge is inside.</p>
      <ol>
        <li aria-hidden="true">
          <span />
          <span>from left, %</span>
          <span>from top, %</span>
        </li>
        {zone.map((corner, i) => (
          <li key={i}>
            <span aria-hidden="true">{i + 1}</span>
            <input type="number" aria-label={`Corner ${i + 1}, from the left, percent`} min="0" max="100" step="0.5" value={round(corner[0])} onChange={(e) => set(i, 0, e.currentTarget.value)} />
            <input type="number" aria-label={`Corner ${i + 1}, from the top, percent`} min="0" max="100" step="0.5" value={round(corner[1])} onChange={(e) => set(i, 1, e.currentTarget.value)} />
            <IconButton icon="plus" label={`Add a corner after corner ${i + 1}`} disabled={zone.length >= MAX_CORNERS} onClick={() => onChange(splitEdge(zone, i))} />
            <IconButton icon="trash" label={`Remove corner ${i + 1}`} onClick={() => onChange(removeCorner(zone, i))} />
          </li>
        ))}
      </ol>
      <button type="button" class="button quiet" onClick={() => onChange([])}>
        Use the whole picture
      </button>
    </fieldset>
  );
}

function round(value: number): number {
  return Math.round(value * 1000) / 10;
}
