// One camera on the wall.

import { useState } from "preact/hooks";
import type { Camera } from "../api";
import { bitrate, fps } from "../format";
import type { LiveState } from "../player/live";
import { LiveVideo } from "../player/live-video";
import { isLive } from "../pushed";
import { hrefTo } from "../router";
import { glowing, now, seenOn } from "../state";
import { ClassChip } from "../ui/bits";
import { StateDot, StatePanel, stateWord, TransportBadge } from "./camera-state";

/** The classes of the newest looked-at picture, with how many of each. */
function SeenNow({ stream }: { stream: string }) {
  const { detections } = seenOn(stream).value;
  const newest = detections[detections.length - 1];
  if (!newest || now.value - newest.time > 4000) return null;
  const counts = new Map<string, number>();
  for (const d of detections) if (d.time === newest.time) counts.set(d.class, (counts.get(d.class) ?? 0) + 1);
  return (
    <>
      {[...counts].slice(0, 4).map(([name, count]) => (
        <ClassChip key={name} name={name} {...(count > 1 ? { note: String(count) } : {})} />
      ))}
    </>
  );
}

export function Tile({ camera, labels }: { camera: Camera; labels: boolean }) {
  const [player, setPlayer] = useState<LiveState>({ phase: "idle" });
  const alert = glowing.value.get(camera.name);
  const live = isLive(camera.status);
  const showsPicture = live && player.phase === "playing";
  const summary = `${camera.name}, ${stateWord(camera.status)}${alert ? `, alert: ${alert.rule}` : ""}`;
  return (
    <a class="tile" href={hrefTo.camera(camera.name)} aria-label={summary} data-alert={alert !== undefined} data-state={camera.status.state}>
      {live && <LiveVideo stream={camera.name} label={`${camera.name} live`} labels={labels} onState={setPlayer} />}
      {!showsPicture && <StatePanel camera={camera} player={player} />}
      <span class="tile-top">
        <span class="tag name">
          <StateDot status={camera.status} />
          {camera.name}
        </span>
        {alert && <span class="tag alarm">{alert.rule}</span>}
        {live && <TransportBadge state={player} />}
      </span>
      {showsPicture && (
        <span class="tile-bottom">
          <span class="chips">
            <SeenNow stream={camera.name} />
          </span>
          <span class="tag figures">
            {bitrate(camera.bitrate_bps)} · {fps(camera.fps)}
          </span>
        </span>
      )}
    </a>
  );
}
