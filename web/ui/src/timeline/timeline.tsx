// The timeline: zoom by wheel, pinch and keys; pan by dragging with the wheel or the axis; a click or a drag plays a moment.

import { effect, useSignal, type Signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import type { Cause, Millis } from "../api";
import { causeText, clock, moment, spanExact, type Zone } from "../format";
import { isDark, zone } from "../prefs";
import { now, serverNow } from "../state";
import { useSize } from "../ui/hooks";
import type { TimelineSource } from "./data";
import { alertAt, countsAround, draw, HEIGHT, nearestSpan, paletteOf, SPANS, TOP } from "./draw";
import { spotAt } from "./model";
import { atPresent, pan, spanOf, timeAt, xOf, zoom, type View } from "./scale";

interface Props {
  source: TimelineSource;
  view: Signal<View>;
  /** The moment shown; undefined while nothing is. */
  playhead: Signal<Millis | undefined>;
  live: boolean;
  onSeek: (at: Millis) => void;
}

interface Pointer {
  x: number;
  y: number;
}

export function Timeline({ source, view, playhead, live, onSeek }: Props) {
  const frame = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const { width } = useSize(frame);
  const hover = useSignal<Pointer | undefined>(undefined);
  const pointers = useRef(new Map<number, Pointer>());
  const gesture = useRef<"seek" | "pan" | "pinch" | undefined>(undefined);
  const latest = useRef({ onSeek, live });
  latest.current = { onSeek, live };

  useEffect(() => {
    if (width === 0) return;
    // Redrawn whenever any signal read here changes: the view, the data, the theme, the zone, the clock, the playhead.
    return effect(() => {
      void isDark.value;
      const at = hover.value && timeAt(view.value, width, hover.value.x);
      // A page that is just left is still told of changes.
      const surface = canvas.current;
      if (!surface) return;
      draw(surface, paletteOf(surface), {
        view: view.value, width, data: source.data.value, now: now.value, playhead: playhead.value, live: latest.current.live, hover: at, zone: zone.value,
      });
    });
  }, [width, live]);
  useEffect(() => effect(() => source.want(view.value)), []);

  const point = (event: PointerEvent): Pointer => {
    const box = canvas.current!.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  };
  const seekTo = (p: Pointer, settle: boolean): void => {
    const alert = settle ? alertAt({ view: view.peek(), width, data: source.data.peek() }, p.x, p.y) : undefined;
    latest.current.onSeek(alert ? alert.detection.time - 1500 : timeAt(view.peek(), width, p.x));
  };

  const down = (event: PointerEvent): void => {
    if (event.button > 1) return;
    canvas.current!.setPointerCapture(event.pointerId);
    const p = point(event);
    pointers.current.set(event.pointerId, p);
    gesture.current = pointers.current.size === 2 ? "pinch" : event.button === 1 || p.y >= TOP.axis || event.shiftKey ? "pan" : "seek";
    if (event.button === 1) event.preventDefault();
  };
  const move = (event: PointerEvent): void => {
    const p = point(event);
    hover.value = p;
    const before = pointers.current.get(event.pointerId);
    if (!before) return;
    if (gesture.current === "pan") view.value = pan(view.value, ((before.x - p.x) / width) * spanOf(view.value), serverNow());
    if (gesture.current === "pinch") pinch(event.pointerId, before, p);
    pointers.current.set(event.pointerId, p);
    if (gesture.current === "seek" && event.pointerType === "mouse") playhead.value = Math.min(serverNow(), timeAt(view.value, width, p.x));
  };
  const pinch = (id: number, before: Pointer, p: Pointer): void => {
    const other = [...pointers.current].find(([key]) => key !== id)?.[1];
    if (!other) return;
    const factor = Math.max(8, Math.abs(before.x - other.x)) / Math.max(8, Math.abs(p.x - other.x));
    view.value = zoom(view.value, factor, timeAt(view.value, width, (p.x + other.x) / 2), serverNow());
  };
  const up = (event: PointerEvent): void => {
    const p = pointers.current.get(event.pointerId);
    pointers.current.delete(event.pointerId);
    if (p && gesture.current === "seek" && event.type === "pointerup") seekTo(point(event), true);
    if (pointers.current.size === 0) gesture.current = undefined;
    if (event.pointerType !== "mouse") hover.value = undefined;
  };

  useEffect(() => {
    // Not passive: the wheel zooms here, and does not scroll the page.
    const element = canvas.current!;
    const wheel = (event: WheelEvent): void => {
      event.preventDefault();
      const w = element.clientWidth;
      const sideways = Math.abs(event.deltaX) > Math.abs(event.deltaY) || event.shiftKey;
      if (sideways) view.value = pan(view.value, ((event.deltaX || event.deltaY) / w) * spanOf(view.value), serverNow());
      else view.value = zoom(view.value, Math.exp(event.deltaY * (event.ctrlKey ? 0.01 : 0.0022)), timeAt(view.value, w, event.offsetX), serverNow());
    };
    element.addEventListener("wheel", wheel, { passive: false });
    return () => element.removeEventListener("wheel", wheel);
  }, []);

  const keys = (event: KeyboardEvent): void => {
    const anchor = playhead.peek() ?? serverNow();
    const span = spanOf(view.value);
    const act: Record<string, () => void> = {
      "+": () => (view.value = zoom(view.value, 0.6, anchor, serverNow())),
      "=": () => (view.value = zoom(view.value, 0.6, anchor, serverNow())),
      "-": () => (view.value = zoom(view.value, 1 / 0.6, anchor, serverNow())),
      PageUp: () => (view.value = pan(view.value, -span * 0.8, serverNow())),
      PageDown: () => (view.value = pan(view.value, span * 0.8, serverNow())),
      ArrowLeft: () => onSeek(anchor - span / (event.shiftKey ? 10 : 100)),
      ArrowRight: () => onSeek(anchor + span / (event.shiftKey ? 10 : 100)),
    };
    if (!act[event.key] || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    act[event.key]!();
  };

  const shown = playhead.value;
  return (
    <section class="timeline" aria-label="Timeline">
      <div ref={frame} class="timeline-frame">
        <canvas
          ref={canvas}
          height={HEIGHT}
          tabIndex={0}
          role="slider"
          aria-label="Moment shown. Arrow keys move, plus and minus zoom, page keys pan."
          aria-valuemin={Math.round(view.value.from / 1000)}
          aria-valuemax={Math.round(view.value.to / 1000)}
          aria-valuenow={Math.round((shown ?? now.value) / 1000)}
          aria-valuetext={live ? "live" : shown === undefined ? "nothing" : moment(shown, now.value, zone.value)}
          onPointerDown={down}
          onPointerMove={move}
          onPointerUp={up}
          onPointerCancel={up}
          onPointerLeave={() => (hover.value = undefined)}
          onKeyDown={keys}
        />
        {hover.value && width > 0 && <Tip source={source} view={view.value} width={width} at={hover.value} zone={zone.value} />}
      </div>
      <div class="timeline-foot">
        <div class="spans" role="group" aria-label="Span shown">
          {SPANS.map(({ label, ms }, i) => (
            <button
              key={label}
              type="button"
              aria-pressed={i === nearestSpan(view.value)}
              onClick={() => (view.value = live || shown === undefined ? atPresent(ms, serverNow()) : zoom(view.value, ms / spanOf(view.value), shown, serverNow()))}
            >
              {label}
            </button>
          ))}
        </div>
        <p class="hint">
          {source.error.value ?? (source.data.value.truncated ? "More detections than fit: their density is shown from the left. Zoom in for all." : "Wheel zooms, drag the hours to pan, click to play")}
        </p>
      </div>
    </section>
  );
}

function gapText({ start, end, cause }: { start: Millis; end: Millis; cause: Cause | null }, present: Millis): string {
  if (cause === "start") return "Before the first recording";
  if (cause === null && end >= present - 60_000) return `Not recording since ${spanExact(present - start)}`;
  return `Not recorded for ${spanExact(end - start)}: ${causeText(cause)}`;
}

function Tip({ source, view, width, at, zone: z }: { source: TimelineSource; view: View; width: number; at: Pointer; zone: Zone }) {
  const data = source.data.value;
  const time = timeAt(view, width, at.x);
  const alert = alertAt({ view, width, data }, at.x, at.y);
  const spot = spotAt(data.spans, data.gaps, time);
  const counts = countsAround(data.detections, time, (spanOf(view) / width) * 4);
  const left = Math.min(width - 90, Math.max(90, alert ? xOf(view, width, alert.detection.time) : at.x));
  return (
    <div class="tip" style={{ left: `${left}px` }}>
      <time>{spanOf(view) > 36e5 * 20 ? moment(time, now.value, z) : clock(time, z)}</time>
      {alert && <span class="tip-alert">{alert.rule}: {alert.detection.class}</span>}
      {spot.kind === "gap" && <span>{gapText(spot, now.value)}</span>}
      {spot.kind === "none" && <span>{time > now.value ? "the future" : "not recorded"}</span>}
      {!alert && counts.length > 0 && <span>{counts.map(([name, n]) => `${n} ${name}`).join(" · ")}</span>}
    </div>
  );
}
