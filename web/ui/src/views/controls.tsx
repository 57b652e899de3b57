// The controls under the picture, and the keys that do the same.

import type { Signal } from "@preact/signals";
import type { RefObject } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import type { Millis } from "../api";
import { clock, day, zoneLabel } from "../format";
import { RATES, type RecordedPlayer } from "../player/recorded";
import { boxes, sound, zone } from "../prefs";
import { hrefTo } from "../router";
import { now, serverNow } from "../state";
import { IconButton } from "../ui/bits";

interface Props {
  name: string;
  live: boolean;
  playhead: Signal<Millis | undefined>;
  player: RecordedPlayer | undefined;
  stage: RefObject<HTMLElement | null>;
  onSeek: (at: Millis, play?: boolean) => void;
  onLive: () => void;
  frameMs: number;
}

/** Keys mean the page's player unless something that takes text or its own keys has the focus. */
function isTyping(event: KeyboardEvent): boolean {
  const target = event.target as HTMLElement;
  return event.ctrlKey || event.metaKey || event.altKey || target.closest("input, textarea, select, [contenteditable], .zone-editor") !== null;
}

function usePlayerKeys(props: Props): void {
  const latest = useRef(props);
  latest.current = props;
  useEffect(() => {
    const keys = (event: KeyboardEvent): void => {
      const { live, player, playhead, onSeek, onLive, frameMs } = latest.current;
      if (isTyping(event)) return;
      const skip = (ms: number): void => onSeek((playhead.peek() ?? serverNow()) + ms);
      const onButton = (event.target as HTMLElement).closest("button, a") !== null;
      const act: Record<string, () => void> = {
        j: () => skip(-10_000),
        k: () => (live ? onSeek(serverNow() - 2000, false) : player?.toggle()),
        l: () => (live ? undefined : player?.state.peek() === "playing" ? player.stepRate(1) : player?.toggle()),
        ArrowLeft: () => skip(event.shiftKey ? -60_000 : -5000),
        ArrowRight: () => skip(event.shiftKey ? 60_000 : 5000),
        ",": () => (player?.pause(), player?.skip(-frameMs)),
        ".": () => (player?.pause(), player?.skip(frameMs)),
        "<": () => player?.stepRate(-1),
        ">": () => player?.stepRate(1),
        b: () => (boxes.value = boxes.value === "on" ? "off" : "on"),
        m: () => (sound.value = sound.value === "on" ? "off" : "on"),
        End: () => onLive(),
      };
      if (!onButton) act[" "] = act["k"]!;
      if (!act[event.key]) return;
      event.preventDefault();
      act[event.key]!();
    };
    addEventListener("keydown", keys);
    return () => removeEventListener("keydown", keys);
  }, []);
}

/** Copies a link to the moment that is shown. */
function ShareButton({ name, live, playhead }: Pick<Props, "name" | "live" | "playhead">) {
  const [copied, setCopied] = useState(false);
  const copy = (): void => {
    const url = new URL(hrefTo.camera(name, live ? now.peek() : playhead.peek()), location.href).href;
    void navigator.clipboard?.writeText(url).then(() => {
      setCopied(true);
      setTimeout(() => setCopied(false), 1600);
    });
  };
  return <IconButton icon={copied ? "check" : "link"} label={copied ? "Copied" : "Copy a link to this moment"} onClick={copy} />;
}

export function Controls(props: Props) {
  usePlayerKeys(props);
  const { live, playhead, player, stage, onSeek, onLive } = props;
  const shown = playhead.value;
  const playing = live || player?.state.value === "playing" || player?.state.value === "loading";
  const skip = (ms: number): void => onSeek((playhead.peek() ?? serverNow()) + ms);
  return (
    <div class="controls" role="group" aria-label="Playback">
      <div class="control-group">
        <IconButton icon="rewind" label="10 seconds back (J)" onClick={() => skip(-10_000)} />
        <IconButton icon={playing ? "pause" : "play"} label={playing ? "Pause (K)" : "Play (K)"} onClick={() => (live ? onSeek(serverNow() - 2000, false) : player?.toggle())} />
        <IconButton icon="forward" label="10 seconds on" disabled={live} onClick={() => skip(10_000)} />
        <select aria-label="Speed" disabled={live} value={String(live ? 1 : (player?.rate.value ?? 1))} onChange={(event) => player?.setRate(Number(event.currentTarget.value))}>
          {RATES.map((rate) => (
            <option key={rate} value={String(rate)}>
              {rate}×
            </option>
          ))}
        </select>
      </div>
      <p class="shown" aria-live="off">
        <time>{shown === undefined ? "––:––:––" : clock(shown, zone.value)}</time>
        <small>{shown === undefined ? "" : `${day(shown, zone.value)} · ${zoneLabel(zone.value, shown)}`}</small>
      </p>
      <div class="control-group end">
        <button type="button" class={`button live ${live ? "on" : ""}`} aria-pressed={live} onClick={onLive} disabled={live} title="Go live (End)">
          <i class="dot" data-state={live ? "live" : "disabled"} /> {live ? "Live" : "Go live"}
        </button>
        <IconButton icon={sound.value === "on" ? "sound" : "mute"} label={`Sound ${sound.value} (M)`} pressed={sound.value === "on"} onClick={() => (sound.value = sound.value === "on" ? "off" : "on")} />
        <IconButton icon="boxes" label="Boxes (B)" pressed={boxes.value === "on"} onClick={() => (boxes.value = boxes.value === "on" ? "off" : "on")} />
        <ShareButton {...props} />
        <IconButton icon="full" label="Full screen" onClick={() => void (document.fullscreenElement ? document.exitFullscreen() : stage.current?.requestFullscreen())} />
      </div>
    </div>
  );
}
