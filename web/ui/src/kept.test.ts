import { expect, test } from "vitest";
import type { Kept } from "./api";
import { changeOf, deletes, draftOf, problemOf, usedPart } from "./kept";

const kept = (part: Partial<Kept> = {}): Kept => ({
  retention_hours: 168, bytes: 20e9, quota_bytes: null, at_quota: "evict", guaranteed_bytes: 0, refusing: false, refused: 0, ...part,
});

test("a draft that nobody touched changes nothing, whatever is kept", () => {
  for (const hours of [null, 0, 1, 25, 168]) {
    for (const quota of [null, 5e6, 1.5e9, 2e12, 1_234_567_891]) {
      const of = kept({ retention_hours: hours, quota_bytes: quota });
      expect(problemOf(draftOf(of))).toBeUndefined();
      expect(changeOf(draftOf(of), of)).toEqual({});
    }
  }
  expect(draftOf(kept({ retention_hours: 48 }))).toMatchObject({ keep: "time", time: "2", timeUnit: "days" });
  expect(draftOf(kept({ retention_hours: 25 }))).toMatchObject({ time: "25", timeUnit: "hours" });
});

test("only what was changed is sent", () => {
  const of = kept();
  const draft = draftOf(of);
  expect(changeOf({ ...draft, time: "2" }, of)).toEqual({ retention_hours: 48 });
  expect(changeOf({ ...draft, keep: "ever" }, of)).toEqual({ retention_hours: null });
  expect(changeOf({ ...draft, keep: "live" }, of)).toEqual({ retention_hours: 0 });
  expect(changeOf({ ...draft, limit: "bytes", bytes: "1,5", byteUnit: "GB" }, of)).toEqual({ quota_bytes: 1.5e9 });
  expect(changeOf({ ...draft, atQuota: "refuse" }, of)).toEqual({ at_quota: "refuse" });
  const limited = kept({ quota_bytes: 5e9 });
  expect(changeOf({ ...draftOf(limited), limit: "none" }, limited)).toEqual({ quota_bytes: 0 });
  expect(changeOf({ ...draftOf(limited), limit: "configured" }, limited)).toEqual({ quota_bytes: null });
});

test("what cannot be meant is said", () => {
  const draft = draftOf(kept());
  for (const time of ["", "0", "-1", "x", "0.01"]) expect(problemOf({ ...draft, time })).toMatch(/hour/);
  expect(problemOf({ ...draft, keep: "ever", time: "" })).toBeUndefined();
  for (const bytes of ["", "0", "-3", "many"]) expect(problemOf({ ...draft, limit: "bytes", bytes })).toMatch(/limit/);
});

test("what deletes is known before", () => {
  const of = kept({ quota_bytes: 50e9 });
  expect(deletes({ retention_hours: 24 }, of)).toBe(true);
  expect(deletes({ retention_hours: 0 }, kept({ retention_hours: null }))).toBe(true);
  expect(deletes({ retention_hours: null }, of)).toBe(false);
  expect(deletes({ retention_hours: 200 }, of)).toBe(false);
  expect(deletes({ quota_bytes: 10e9 }, of)).toBe(true);
  expect(deletes({ quota_bytes: 10e9, at_quota: "refuse" }, of)).toBe(false);
  expect(deletes({ quota_bytes: 0 }, of)).toBe(false);
  expect(deletes({ retention_hours: 24 }, kept({ bytes: 0 }))).toBe(false);
});

test("the bar is of the limit, and never longer than it", () => {
  expect(usedPart(kept())).toBeUndefined();
  expect(usedPart(kept({ quota_bytes: 40e9 }))).toBe(0.5);
  expect(usedPart(kept({ quota_bytes: 10e9 }))).toBe(1);
});
