// One live player: WebRTC first, HLS as the visible fallback, retried with back-off. It owns no element but drives one.

import { Backoff } from "../backoff";
import { messageOf, playlistUrl } from "../client";
import { attachHls, LIVE, type Hls } from "./hls";
import { NoWebRtc, playWhep, receiveMeter, type ReceiveFigures } from "./whep";

export type LiveState =
  | { phase: "idle" }
  | { phase: "connecting"; since: number }
  | { phase: "playing"; transport: "webrtc" }
  | { phase: "playing"; transport: "hls"; why: string }
  | { phase: "failed"; since: number; why: string; retryAt: number };

/** No new picture for so long means that the connection is dead, whatever it says. */
const STALL_MS = 6000;
const FIGURES_MS = 2000;

export class LivePlayer {
  #stop: AbortController | undefined;
  #backoff = new Backoff({ firstMs: 1000, maxMs: 20_000, jitter: 0.3 });
  #hls: Hls | undefined;
  #failedSince = 0;

  constructor(
    private readonly video: HTMLVideoElement,
    private readonly stream: string,
    private readonly changed: (state: LiveState) => void,
    private readonly figures: (figures: ReceiveFigures) => void = () => undefined,
  ) {}

  start(): void {
    if (!this.#stop) void this.#run();
  }

  /** Stops decoding and closes every connection. */
  stop(): void {
    this.#abort();
    this.#backoff.reset();
    this.#failedSince = 0;
    this.changed({ phase: "idle" });
  }

  /** The wall-clock instant of the picture that is shown, where the transport tells it (HLS does). */
  shownAt(): number | undefined {
    return this.#hls?.playingDate?.getTime();
  }

  #abort(): void {
    this.#stop?.abort(new DOMException("stopped", "AbortError"));
    this.#stop = undefined;
    this.#hls = undefined;
  }

  async #run(): Promise<void> {
    const stop = new AbortController();
    this.#stop = stop;
    if (this.#failedSince === 0) this.changed({ phase: "connecting", since: Date.now() });
    try {
      const session = await playWhep(this.stream, this.video, stop.signal);
      this.#playing({ phase: "playing", transport: "webrtc" });
      this.#watch(session.connection, stop.signal);
    } catch (thrown) {
      if (stop.signal.aborted) return;
      if (thrown instanceof NoWebRtc) await this.#runHls(thrown.message, stop.signal);
      else this.#retry(messageOf(thrown));
    }
  }

  async #runHls(why: string, signal: AbortSignal): Promise<void> {
    const playing = (): void => this.#playing({ phase: "playing", transport: "hls", why });
    this.video.addEventListener("playing", playing, { signal, once: true });
    try {
      this.#hls = await attachHls(this.video, playlistUrl(this.stream), LIVE, signal, { failed: (message) => this.#retry(message) });
      await this.video.play().catch(() => undefined);
    } catch (thrown) {
      if (!signal.aborted) this.#retry(messageOf(thrown));
    }
  }

  #playing(state: LiveState): void {
    this.#backoff.reset();
    this.#failedSince = 0;
    this.changed(state);
  }

  #watch(connection: RTCPeerConnection, signal: AbortSignal): void {
    const read = receiveMeter(connection);
    let decoded = -1;
    let progressed = performance.now();
    const timer = setInterval(() => {
      void read().then((figures) => {
        if (signal.aborted || !figures) return;
        if (figures.framesDecoded !== decoded) progressed = performance.now();
        decoded = figures.framesDecoded;
        this.figures(figures);
        if (performance.now() - progressed > STALL_MS) this.#retry(`No picture for ${STALL_MS / 1000} s.`);
      });
    }, FIGURES_MS);
    signal.addEventListener("abort", () => clearInterval(timer), { once: true });
    connection.addEventListener("connectionstatechange", () => {
      if (connection.connectionState === "failed") this.#retry("The WebRTC connection was lost.");
    }, { signal });
  }

  #retry(why: string): void {
    if (!this.#stop) return;
    this.#abort();
    const stop = new AbortController();
    this.#stop = stop;
    this.#failedSince ||= Date.now();
    const wait = this.#backoff.next();
    this.changed({ phase: "failed", since: this.#failedSince, why, retryAt: Date.now() + wait });
    const timer = setTimeout(() => {
      this.#stop = undefined;
      void this.#run();
    }, wait);
    stop.signal.addEventListener("abort", () => clearTimeout(timer), { once: true });
  }
}
