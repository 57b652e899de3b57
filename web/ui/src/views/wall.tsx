// The wall: every camera at once, as large as the window allows.

import { useRef } from "preact/hooks";
import { bestColumns } from "../geometry";
import { hrefTo } from "../router";
import { cameras, refreshCameras } from "../state";
import { Empty, ErrorNote, Skeletons } from "../ui/bits";
import { useSize } from "../ui/hooks";
import { Icon } from "../ui/icons";
import { Tile } from "./tile";

const ASPECT = 16 / 9;
const MIN_TILE = 264;

/** Moves the focus between tiles by arrow keys, Home and End. */
function moveFocus(event: KeyboardEvent, columns: number): void {
  const steps: Record<string, number> = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, Home: -1e9, End: 1e9 };
  const step = steps[event.key];
  if (step === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
  const tiles = [...(event.currentTarget as HTMLElement).querySelectorAll<HTMLElement>("a.tile")];
  const at = tiles.indexOf(document.activeElement as HTMLElement);
  if (at < 0) return;
  const to = Math.abs(step) > 1e6 ? (step < 0 ? 0 : tiles.length - 1) : at + step;
  event.preventDefault();
  tiles[to]?.focus();
}

export function Wall() {
  const frame = useRef<HTMLDivElement>(null);
  const { width, height } = useSize(frame);
  const { items, error } = cameras.value;
  const count = items?.length ?? 4;
  const columns = width === 0 ? 1 : bestColumns(count, width, height, ASPECT, Math.min(MIN_TILE, width));
  // Tiles are as large as lets the wall fit the window; when that is too small to read, they fill the width and it scrolls.
  const fitting = (height / Math.ceil(count / columns)) * ASPECT;
  const tileWidth = fitting >= MIN_TILE ? Math.min(width / columns, fitting) : width / columns;

  return (
    <div ref={frame} class="wall">
      <h1 class="visually-hidden">Wall of cameras</h1>
      {error && !items && <ErrorNote message={error} onRetry={() => void refreshCameras()} />}
      {items?.length === 0 ? (
        <Empty icon="camera" title="Add your first camera">
          <p>Vidicon pulls it by RTSP, records it durably, shows it live and tells you what it sees.</p>
          <a class="button primary" href={hrefTo.add}>
            <Icon name="plus" /> Add a camera
          </a>
        </Empty>
      ) : (
        <div class="grid" style={{ "--columns": columns, "--tile": `${Math.floor(tileWidth)}px` } as never} onKeyDown={(event) => moveFocus(event, columns)}>
          {items ? items.map((camera) => <Tile key={camera.name} camera={camera} labels={tileWidth > 420} />) : !error && <Skeletons count={4} kind="tile" />}
        </div>
      )}
    </div>
  );
}
