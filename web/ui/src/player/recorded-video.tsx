// A picture of the past with its boxes.

import { effect } from "@preact/signals";
import { useEffect, useRef, useState } from "preact/hooks";
import type { Millis } from "../api";
import { boxes, sound } from "../prefs";
import { serverNow } from "../state";
import type { TimelineSource } from "../timeline/data";
import { boxesAt } from "../timeline/model";
import { drawOverlay } from "./overlay";
import { RecordedPlayer } from "./recorded";

/** How long a box stays when no newer picture was looked at: a little more than a second, the usual key-frame interval. */
const HOLD_MS = 1100;

interface Props {
  stream: string;
  /** Where to begin. Later moments are asked of the player. */
  at: Millis;
  /** Whether to play on from there. */
  play: boolean;
  source: TimelineSource;
  onPlayer: (player: RecordedPlayer) => void;
  onPresent: () => void;
}

export function RecordedVideo({ stream, at, play, source, onPlayer, onPresent }: Props) {
  const video = useRef<HTMLVideoElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const present = useRef(onPresent);
  present.current = onPresent;
  const [player, setPlayer] = useState<RecordedPlayer | undefined>(undefined);

  useEffect(() => {
    const created = new RecordedPlayer(video.current!, stream, serverNow, () => present.current());
    created.seek(at, play);
    setPlayer(created);
    onPlayer(created);
    let frame = 0;
    let drawn = "";
    const draw = (): void => {
      frame = requestAnimationFrame(draw);
      const [element, surface] = [video.current, canvas.current];
      const shown = created.shownAt();
      if (!element || !surface || shown === undefined) return;
      const detections = boxes.peek() === "on" && element.videoWidth > 0 ? boxesAt(source.data.peek().detections, shown, HOLD_MS) : [];
      const key = `${detections[0]?.time}/${detections.length}/${surface.clientWidth}x${surface.clientHeight}/${element.videoWidth}`;
      if (key === drawn) return;
      drawn = key;
      drawOverlay(surface, element.videoWidth, element.videoHeight, { detections, labels: true });
    };
    frame = requestAnimationFrame(draw);
    return () => {
      cancelAnimationFrame(frame);
      created.destroy();
    };
  }, [stream]);

  useEffect(() => effect(() => void (video.current!.muted = sound.value === "off")), []);

  return (
    <div class="picture">
      <video ref={video} playsInline aria-label={`${stream}, recorded`} />
      <canvas ref={canvas} aria-hidden="true" />
      {player?.error.value && (
        <span class="state-panel bad over">
          <strong>{player.error.value}</strong>
          <span>Choose another moment on the timeline.</span>
        </span>
      )}
      {player?.state.value === "loading" && <span class="spinner" role="status" aria-label="Loading" />}
    </div>
  );
}
