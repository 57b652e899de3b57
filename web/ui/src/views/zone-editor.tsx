// The zone of a rule, drawn over the picture: drag corners, double-click to add one, Delete to remove one, arrows to nudge.

import type { Signal } from "@preact/signals";
import type { RefObject } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { Corner, Rule } from "../api";
import { addCorner, containRect, moveCorner, removeCorner, type Rect } from "../geometry";
import { useSize } from "../ui/hooks";

/** Where the picture is in the stage; follows the video's size, which is known once it plays. */
function usePictureRect(stage: RefObject<HTMLElement | null>): Rect {
  const { width, height } = useSize(stage);
  const [picture, setPicture] = useState({ width: 16, height: 9 });
  useEffect(() => {
    const look = (): void => {
      const video = stage.current?.querySelector("video");
      if (video?.videoWidth) setPicture((old) => (old.width === video.videoWidth && old.height === video.videoHeight ? old : { width: video.videoWidth, height: video.videoHeight }));
    };
    look();
    const timer = setInterval(look, 500);
    return () => clearInterval(timer);
  }, []);
  return containRect(width, height, picture.width, picture.height);
}

const NUDGES: Record<string, Corner> = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export function ZoneEditor({ rule, stage }: { rule: Signal<Rule>; stage: RefObject<HTMLElement | null> }) {
  const svg = useRef<SVGSVGElement>(null);
  const rect = usePictureRect(stage);
  const dragged = useRef<number | undefined>(undefined);
  const { zone } = rule.value;
  const setZone = (next: Corner[]): void => void (rule.value = { ...rule.peek(), zone: next });
  const pointOf = (event: MouseEvent): Corner => {
    const box = svg.current!.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  };
  const keys = (event: KeyboardEvent, index: number): void => {
    const nudge = NUDGES[event.key];
    const corner = zone[index]!;
    const by = event.shiftKey ? 0.05 : 0.005;
    if (nudge) setZone(moveCorner(zone, index, [corner[0] + nudge[0] * by, corner[1] + nudge[1] * by]));
    else if (event.key === "Delete" || event.key === "Backspace") setZone(removeCorner(zone, index));
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  if (rect.width === 0 || zone.length < 3) return null;
  const px = (corner: Corner): [number, number] => [corner[0] * rect.width, corner[1] * rect.height];
  const points = zone.map((corner) => px(corner).join(",")).join(" ");
  return (
    <svg
      ref={svg}
      class="zone-editor"
      style={{ left: `${rect.x}px`, top: `${rect.y}px`, width: `${rect.width}px`, height: `${rect.height}px` }}
      viewBox={`0 0 ${rect.width} ${rect.height}`}
      role="group"
      aria-label="Zone"
      onPointerMove={(event) => {
        if (dragged.current !== undefined) setZone(moveCorner(rule.peek().zone, dragged.current, pointOf(event)));
      }}
      onPointerUp={() => (dragged.current = undefined)}
      onPointerCancel={() => (dragged.current = undefined)}
      onDblClick={(event) => setZone(addCorner(zone, pointOf(event)))}
    >
      <path class="zone-outside" fill-rule="evenodd" d={`M0 0H${rect.width}V${rect.height}H0Z M${zone.map((c) => px(c).join(" ")).join("L")}Z`} />
      <polygon class="zone-edge" points={points} />
      {zone.map((corner, i) => {
        const [x, y] = px(corner);
        return (
          <g
            key={i}
            class="corner"
            tabIndex={0}
            role="button"
            aria-label={`Corner ${i + 1}: ${Math.round(corner[0] * 100)} % from the left, ${Math.round(corner[1] * 100)} % from the top. Arrow keys move it, Delete removes it.`}
            transform={`translate(${x} ${y})`}
            onKeyDown={(event) => keys(event, i)}
            onPointerDown={(event) => {
              svg.current!.setPointerCapture(event.pointerId);
              dragged.current = i;
            }}
          >
            <circle class="corner-reach" r="18" />
            <circle class="corner-dot" r="7" />
          </g>
        );
      })}
    </svg>
  );
}
