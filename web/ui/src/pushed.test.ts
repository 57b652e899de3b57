import { expect, test } from "vitest";
import type { Camera, Stream } from "./api";
import { isLive, isPushed, withPushed } from "./pushed";

const stream = (name: string, bitrate_bps: number, last_commit_at?: number): Stream => ({
  name, bitrate_bps, fps: 0, retention_hours: 24, has_b_frames: false, dropped_gops: 0, last_commit_at: last_commit_at ?? null,
  bytes: 5, quota_bytes: null, at_quota: "evict", guaranteed_bytes: 0, refusing: false, refused: 0,
});
const camera = { name: "gate", status: { state: "live", since: 1, clock: "arrival", via: "RTSP" } } as Camera;

test("streams without a camera stand behind the cameras, by name", () => {
  const all = withPushed([camera], [stream("yard", 0, 7), stream("gate", 5), stream("door", 800)]);
  expect(all.map((c) => c.name)).toEqual(["gate", "door", "yard"]);
  expect(all.map(isPushed)).toEqual([false, true, true]);
  expect(all.map((c) => isLive(c.status))).toEqual([true, true, false]);
  expect(all.map((c) => c.kept?.bytes)).toEqual([5, 5, 5]);
  expect(withPushed([camera], [])[0]!.kept).toBeUndefined();
  expect(all[2]!.status).toEqual({ state: "silent", last: 7 });
  expect(withPushed([], [stream("new", 0)])[0]!.status).toEqual({ state: "silent", last: undefined });
});
