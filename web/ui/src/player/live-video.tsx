// A live picture with its boxes. Decodes only while it is on screen.

import { effect } from "@preact/signals";
import type { RefObject } from "preact";
import { useEffect, useRef } from "preact/hooks";
import type { Corner, Detection } from "../api";
import { boxes, sound } from "../prefs";
import { seenOn, type Seen } from "../state";
import { boxesAt } from "../timeline/model";
import { useVisible } from "../ui/hooks";
import { LivePlayer, type LiveState } from "./live";
import { drawOverlay } from "./overlay";
import type { ReceiveFigures } from "./whep";

/** How long a box stays when no newer picture was looked at. */
const HOLD_MS = 1300;

interface Props {
  stream: string;
  label: string;
  labels: boolean;
  zone?: readonly Corner[];
  onState: (state: LiveState) => void;
  onFigures?: (figures: ReceiveFigures) => void;
  /** Whether the sound preference counts here: on the camera's own page, where the transport has sound. */
  audible?: boolean;
  /** Is given a way to ask for the wall-clock instant that is shown, where the transport tells it. */
  clock?: RefObject<(() => number | undefined) | undefined>;
}

function shown(player: LivePlayer, seen: Seen): Detection[] {
  const at = player.shownAt();
  if (at !== undefined) return boxesAt(seen.detections, at, HOLD_MS);
  // WebRTC shows the present: the newest boxes belong to the picture of a moment ago.
  if (performance.now() - seen.arrived > HOLD_MS) return [];
  const newest = seen.detections[seen.detections.length - 1];
  return newest ? boxesAt(seen.detections, newest.time, 1) : [];
}

export function LiveVideo(props: Props) {
  const frame = useRef<HTMLDivElement>(null);
  const video = useRef<HTMLVideoElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const visible = useVisible(frame);
  const latest = useRef(props);
  latest.current = props;

  useEffect(() => {
    if (!visible) return;
    const player = new LivePlayer(
      video.current!,
      props.stream,
      (state) => latest.current.onState(state),
      (figures) => latest.current.onFigures?.(figures),
    );
    const { clock } = latest.current;
    if (clock) clock.current = () => player.shownAt();
    player.start();
    let drawn = "";
    const draw = (seen: Seen): void => {
      const [element, surface] = [video.current, canvas.current];
      if (!element || !surface) return;
      const detections = boxes.peek() === "on" && element.videoWidth > 0 ? shown(player, seen) : [];
      const key = `${detections[0]?.time}/${detections.length}/${surface.clientWidth}x${surface.clientHeight}/${element.videoWidth}/${latest.current.zone?.join()}`;
      if (key === drawn) return;
      drawn = key;
      drawOverlay(surface, element.videoWidth, element.videoHeight, { detections, labels: latest.current.labels, zone: latest.current.zone ?? [] });
    };
    const seen = seenOn(props.stream);
    const stopEffect = effect(() => draw(seen.value));
    const timer = setInterval(() => draw(seen.peek()), 100);
    return () => {
      clearInterval(timer);
      stopEffect();
      player.stop();
      if (clock) clock.current = undefined;
    };
  }, [visible, props.stream]);

  useEffect(() => {
    if (!props.audible) return;
    return effect(() => {
      const element = video.current!;
      element.muted = sound.value === "off";
      // Without a gesture on this page, a browser may refuse sound and pause: then silent pictures are better than none.
      if (!element.muted && element.paused) element.play().catch(() => (element.muted = true));
    });
  }, [props.audible]);

  return (
    <div ref={frame} class="picture">
      <video ref={video} muted playsInline aria-label={props.label} />
      <canvas ref={canvas} aria-hidden="true" />
    </div>
  );
}
