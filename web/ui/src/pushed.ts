// Streams that no camera here records: what producers push, and what cameras left that were removed. They stand on the wall
// beside the cameras and have a page like theirs. Pure.

import type { Camera, CameraStatus, Stream } from "./api";

/** A stream without a camera, as the page shows cameras. */
function shown(stream: Stream): Camera {
  const status: CameraStatus = stream.bitrate_bps > 0 ? { state: "receiving" } : { state: "silent", last: stream.last_commit_at ?? undefined };
  return { ...stream, url: "", has_password: false, transport: "tcp", enabled: true, from_config: false, reconnects: 0, status, kept: stream };
}

/** The cameras, each with what its stream keeps, then the streams that have none, by name. */
export function withPushed(cameras: readonly Camera[], streams: readonly Stream[]): Camera[] {
  const byName = new Map(streams.map((stream) => [stream.name, stream]));
  const named = new Set(cameras.map((camera) => camera.name));
  const others = streams.filter((stream) => !named.has(stream.name)).map(shown);
  return [...cameras.map((camera) => ({ ...camera, kept: byName.get(camera.name) })), ...others.sort((a, b) => (a.name < b.name ? -1 : 1))];
}

/** Whether nothing is pulled for it. */
export const isPushed = ({ status }: Camera): boolean => status.state === "receiving" || status.state === "silent";

/** Whether there is a live picture to be had. */
export const isLive = ({ state }: CameraStatus): boolean => state === "live" || state === "receiving";
