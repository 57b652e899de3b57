// One player of the past: a VOD playlist of a window around the moment asked for. Seeking inside the window moves the
// playhead; outside it, the next window is loaded.

import { signal } from "@preact/signals";
import type { Millis } from "../api";
import { api, messageOf, playlistUrl } from "../client";
import { mediaTimeOf, wallTimeOf, type TimedSegment } from "../timeline/model";
import { playWindow, type View } from "../timeline/scale";
import { attachHls, RECORDED, type Hls } from "./hls";

export const RATES = [0.5, 1, 2, 4, 8] as const;

export class RecordedPlayer {
  /** Loading, playing, paused, or why not. */
  readonly state = signal<"idle" | "loading" | "playing" | "paused">("idle");
  readonly error = signal<string | undefined>(undefined);
  readonly rate = signal(1);

  #stop: AbortController | undefined;
  #hls: Hls | undefined;
  #window: View | undefined;
  #segments: TimedSegment[] = [];
  #wanted: Millis | undefined;
  #listeners = new AbortController();

  constructor(
    private readonly video: HTMLVideoElement,
    private readonly stream: string,
    private readonly serverNow: () => Millis,
    /** Playback reached what is recorded last. */
    private readonly reachedPresent: () => void,
  ) {
    const { signal } = this.#listeners;
    const follow = (): void => {
      if (this.#window) this.state.value = video.paused ? "paused" : video.readyState < 3 || video.seeking ? "loading" : "playing";
    };
    for (const name of ["playing", "pause", "waiting", "seeking", "seeked", "canplay"]) video.addEventListener(name, follow, { signal });
    video.addEventListener("ended", () => void this.#next(), { signal });
  }

  /** The wall-clock instant of the picture that is shown, or that was asked for and is on its way. */
  shownAt(): Millis | undefined {
    if (this.#wanted !== undefined) return this.#wanted;
    return wallTimeOf(this.#segments, this.video.currentTime) ?? this.#hls?.playingDate?.getTime();
  }

  /** Shows a moment; plays on if `play`. */
  seek(at: Millis, play: boolean): void {
    at = Math.min(at, this.serverNow() - 500);
    this.error.value = undefined;
    const window = this.#window;
    const inside = window && at >= window.from && at < window.to ? mediaTimeOf(this.#segments, at) : undefined;
    if (inside !== undefined) {
      this.#wanted = undefined;
      this.video.currentTime = inside;
      if (play) void this.video.play().catch(() => undefined);
      return;
    }
    void this.#load(at, play);
  }

  toggle(): void {
    if (this.video.paused) void this.video.play().catch(() => undefined);
    else this.video.pause();
  }

  pause(): void {
    this.video.pause();
  }

  setRate(rate: number): void {
    this.rate.value = rate;
    this.video.defaultPlaybackRate = rate;
    this.video.playbackRate = rate;
  }

  /** One step faster (1) or slower (-1). */
  stepRate(by: 1 | -1): void {
    const index = RATES.indexOf(this.rate.value as (typeof RATES)[number]);
    this.setRate(RATES[Math.min(RATES.length - 1, Math.max(0, index + by))]!);
  }

  /** Moves by milliseconds of wall-clock time. */
  skip(by: number): void {
    const at = this.shownAt();
    if (at !== undefined) this.seek(at + by, !this.video.paused);
  }

  destroy(): void {
    this.#listeners.abort();
    this.#stop?.abort();
    this.video.pause();
  }

  async #load(at: Millis, play: boolean): Promise<void> {
    this.#stop?.abort();
    const stop = new AbortController();
    this.#stop = stop;
    const window = playWindow(at, this.serverNow());
    this.#window = window;
    this.#segments = [];
    this.#wanted = at;
    this.state.value = "loading";
    const fail = (message: string): void => {
      if (stop.signal.aborted) return;
      this.#window = undefined;
      this.error.value = message;
      this.state.value = "paused";
    };
    try {
      const segments = (found: TimedSegment[]): void => {
        const first = this.#segments.length === 0;
        this.#segments = found;
        if (!first) return;
        if (found.length === 0) return fail("Nothing is recorded here.");
        // A moment in a gap becomes the first picture after it; one after all pictures, the last second.
        const last = found[found.length - 1]!;
        const target = mediaTimeOf(found, at) ?? Math.max(0, last.start + last.duration - 1);
        // Once there is a media timeline to seek on: hls.js has begun with the first segment, and goes on from here.
        const seek = (): void => void (this.video.currentTime = target);
        this.video.addEventListener("loadedmetadata", seek, { signal: stop.signal, once: true });
        this.setRate(this.rate.value);
        if (play) void this.video.play().catch(() => undefined);
      };
      this.#hls = await attachHls(this.video, playlistUrl(this.stream, window), { ...RECORDED, startPosition: 0 }, stop.signal, { failed: fail, segments });
      this.video.addEventListener("seeked", () => (this.#wanted = undefined), { signal: stop.signal, once: true });
      this.video.addEventListener("playing", () => (this.#wanted = undefined), { signal: stop.signal, once: true });
    } catch (thrown) {
      fail(messageOf(thrown));
    }
  }

  /** The window is played: go on with the next one, or say that the present is reached. */
  async #next(): Promise<void> {
    const end = this.#window?.to;
    if (end === undefined || end > this.serverNow() - 15_000) return this.reachedPresent();
    const { signal } = this.#stop!;
    try {
      // What is recorded next may be far away.
      const { spans } = await api.timeline(this.stream, end, this.serverNow(), signal);
      const next = spans.find((span) => span.end > end + 500);
      if (next) void this.#load(Math.max(next.start, end), true);
      else this.reachedPresent();
    } catch (thrown) {
      if (!signal.aborted) this.error.value = messageOf(thrown);
    }
  }
}
