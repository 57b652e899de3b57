// Live pictures and sound by WebRTC: one WHEP exchange (RFC 9725), receive only, no trickle.

import { messageOf, request, whepUrl, ApiError } from "../client";

/** WebRTC cannot show this stream, or not from here; HLS may. The message says why. */
export class NoWebRtc extends Error {}

export interface WhepSession {
  readonly connection: RTCPeerConnection;
  close(): void;
}

/** How long a picture may take to come before HLS is tried. */
export const FIRST_PICTURE_MS = 6000;

/**
 * Asks for a stream and resolves when the first picture is decoded in `video`. Throws `NoWebRtc` with the reason for the
 * viewer, or the signal's abort reason.
 */
export async function playWhep(stream: string, video: HTMLVideoElement, signal: AbortSignal): Promise<WhepSession> {
  if (typeof RTCPeerConnection === "undefined") throw new NoWebRtc("This browser has no WebRTC.");
  const connection = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
  let resource: string | undefined;
  const close = (): void => {
    if (video.srcObject) video.srcObject = null;
    if (!resource) return connection.close();
    // The request first: after a DTLS good-bye the server no longer knows the session. `keepalive` lets it outlive the page.
    void fetch(resource, { method: "DELETE", keepalive: true })
      .catch(() => undefined)
      .finally(() => connection.close());
    resource = undefined;
  };
  signal.addEventListener("abort", close, { once: true });
  try {
    connection.addTransceiver("video", { direction: "recvonly" });
    // Silent where the stream has no sound that WebRTC knows; of one stream with the pictures where it has.
    connection.addTransceiver("audio", { direction: "recvonly" });
    connection.ontrack = (event) => {
      // Live means now: no jitter buffer beyond what the network needs.
      event.receiver.jitterBufferTarget = 0;
      const stream = event.streams[0] ?? new MediaStream([event.track]);
      if (video.srcObject !== stream) video.srcObject = stream;
    };
    await connection.setLocalDescription(await connection.createOffer());
    const response = await offer(stream, connection.localDescription?.sdp ?? "", signal);
    const location = response.headers.get("location");
    resource = location ? new URL(location, response.url || window.location.href).href : undefined;
    await connection.setRemoteDescription({ type: "answer", sdp: await response.text() });
    await firstPicture(connection, video, signal);
    return { connection, close };
  } catch (thrown) {
    close();
    if (signal.aborted || thrown instanceof NoWebRtc || thrown instanceof ApiError) throw thrown;
    throw new NoWebRtc(messageOf(thrown));
  }
}

async function offer(stream: string, sdp: string, signal: AbortSignal): Promise<Response> {
  try {
    return await request(whepUrl(stream), {
      method: "POST",
      headers: { "content-type": "application/sdp", accept: "application/sdp, application/json" },
      body: sdp,
      signal,
    });
  } catch (thrown) {
    if (thrown instanceof ApiError && thrown.status !== 401 && thrown.status !== 0) throw new NoWebRtc(thrown.message);
    throw thrown;
  }
}

function firstPicture(connection: RTCPeerConnection, video: HTMLVideoElement, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const finish = (act: () => void): void => {
      clearTimeout(timer);
      video.removeEventListener("playing", onPlaying);
      connection.removeEventListener("connectionstatechange", onState);
      signal.removeEventListener("abort", onAbort);
      act();
    };
    const timer = setTimeout(() => {
      const connected = connection.connectionState === "connected";
      const seconds = FIRST_PICTURE_MS / 1000;
      finish(() => reject(new NoWebRtc(connected ? `WebRTC connected, but no picture came within ${seconds} s.` : `No WebRTC connection within ${seconds} s: UDP may be blocked.`)));
    }, FIRST_PICTURE_MS);
    const onPlaying = (): void => finish(resolve);
    const onState = (): void => {
      if (connection.connectionState === "failed") finish(() => reject(new NoWebRtc("The WebRTC connection failed: UDP may be blocked.")));
    };
    const onAbort = (): void => finish(() => reject(signal.reason as Error));
    video.addEventListener("playing", onPlaying);
    connection.addEventListener("connectionstatechange", onState);
    signal.addEventListener("abort", onAbort);
    video.play().catch(() => undefined);
  });
}

/** What a viewer's connection received, since the call before. */
export interface ReceiveFigures {
  bitrateBps: number;
  fps: number;
  dropped: number;
  lost: number;
  framesDecoded: number;
}

/** Reads figures off a connection every time it is called. */
export function receiveMeter(connection: RTCPeerConnection): () => Promise<ReceiveFigures | undefined> {
  let before: { bytes: number; at: number } | undefined;
  return async () => {
    const report = await connection.getStats();
    for (const entry of report.values() as Iterable<RTCInboundRtpStreamStats>) {
      if (entry.type !== "inbound-rtp" || entry.kind !== "video") continue;
      const bytes = entry.bytesReceived ?? 0;
      const seconds = before ? (entry.timestamp - before.at) / 1000 : 0;
      const bitrateBps = before && seconds > 0 ? ((bytes - before.bytes) * 8) / seconds : 0;
      before = { bytes, at: entry.timestamp };
      return {
        bitrateBps,
        fps: entry.framesPerSecond ?? 0,
        dropped: entry.framesDropped ?? 0,
        lost: entry.packetsLost ?? 0,
        framesDecoded: entry.framesDecoded ?? 0,
      };
    }
    return undefined;
  };
}

