// HLS by hls.js (its light build, fetched when first needed), or by the browser where that is all there is (iOS).

import type Hls from "hls.js";
import type { ErrorData, HlsConfig } from "hls.js";
import type { TimedSegment } from "../timeline/model";

export type { Hls };

const COMMON: Partial<HlsConfig> = {
  // A worker would need `blob:` scripts in the content security policy; fMP4 needs next to no work anyway.
  enableWorker: false,
  startLevel: 0,
  maxBufferLength: 20,
  backBufferLength: 30,
};

export const LIVE: Partial<HlsConfig> = { ...COMMON, liveSyncDurationCount: 2, liveMaxLatencyDurationCount: 8, maxLiveSyncPlaybackRate: 1.25, backBufferLength: 8 };
/** Enough ahead for eightfold speed. */
export const RECORDED: Partial<HlsConfig> = { ...COMMON, maxBufferLength: 60 };

export interface HlsEvents {
  /** One sentence: playback cannot go on. */
  failed: (message: string) => void;
  /** The media segments of the playlist, at the first load and at every reload. */
  segments?: (segments: TimedSegment[]) => void;
}

/** Attaches a playlist to a video until the signal aborts. */
export async function attachHls(video: HTMLVideoElement, url: string, config: Partial<HlsConfig>, signal: AbortSignal, events: HlsEvents): Promise<Hls | undefined> {
  const { default: HlsClass } = await import("hls.js/light");
  signal.throwIfAborted();
  if (!HlsClass.isSupported()) {
    if (!video.canPlayType("application/vnd.apple.mpegurl")) {
      events.failed("This browser plays neither WebRTC nor HLS.");
      return undefined;
    }
    video.src = url;
    video.addEventListener("error", () => events.failed(video.error?.message || "The recording cannot be played."), { signal });
    signal.addEventListener("abort", () => video.removeAttribute("src"), { once: true });
    return undefined;
  }
  const hls = new HlsClass(config);
  let mended = 0;
  hls.on(HlsClass.Events.ERROR, (_event, data) => {
    if (!data.fatal) return;
    if (data.type === HlsClass.ErrorTypes.MEDIA_ERROR && mended++ < 2) hls.recoverMediaError();
    else events.failed(sentence(data));
  });
  hls.on(HlsClass.Events.LEVEL_LOADED, (_event, { details }) => {
    events.segments?.(details.fragments.map(({ start, duration, programDateTime }) => ({ start, duration, programDateTime })));
  });
  signal.addEventListener("abort", () => hls.destroy(), { once: true });
  hls.loadSource(url);
  hls.attachMedia(video);
  return hls;
}

function sentence(data: ErrorData): string {
  const status = data.response?.code;
  if (status === 404) return "There is no recording to play here.";
  if (status === 401 || status === 403) return "The session has ended. Sign in again.";
  if (status) return `The server answered ${status} for ${data.type === "networkError" ? "a part of the stream" : "the stream"}.`;
  if (data.type === "networkError") return "The server cannot be reached.";
  return `The picture cannot be decoded (${data.details}).`;
}
