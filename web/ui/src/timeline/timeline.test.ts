import { describe, expect, it } from "vitest";
import type { Detection } from "../api";
import { boxesAt, density, extend, mediaTimeOf, mergeDetections, spotAt, wallTimeOf } from "./model";
import { atPresent, clampView, DAY, HOUR, MAX_SPAN, MIN_SPAN, MINUTE, pan, playWindow, reveal, spanOf, ticks, tickStep, timeAt, xOf, zoom } from "./scale";

const NOW = Date.UTC(2026, 10, 23, 12);

describe("the view", () => {
  const view = { from: NOW - HOUR, to: NOW };

  it("maps instants to pixels and back", () => {
    expect(xOf(view, 1000, NOW - HOUR / 2)).toBe(500);
    expect(timeAt(view, 1000, xOf(view, 1000, NOW - 1234))).toBeCloseTo(NOW - 1234);
  });

  it("keeps the instant under the pointer where it is", () => {
    const anchor = NOW - 50 * MINUTE;
    const closer = zoom(view, 0.5, anchor, NOW);
    expect(xOf(closer, 1000, anchor)).toBeCloseTo(xOf(view, 1000, anchor));
    expect(spanOf(closer)).toBe(HOUR / 2);
  });

  it("stays between a minute and a week, and out of the future", () => {
    let v = view;
    for (let i = 0; i < 40; i++) v = zoom(v, 2, NOW - 10, NOW);
    expect(spanOf(v)).toBe(MAX_SPAN);
    for (let i = 0; i < 40; i++) v = zoom(v, 0.5, NOW, NOW);
    expect(spanOf(v)).toBe(MIN_SPAN);
    expect(pan(view, 5 * DAY, NOW).to).toBe(NOW + HOUR / 20);
    expect(pan(view, -50 * DAY, NOW).from).toBe(NOW - MAX_SPAN);
    expect(clampView({ from: NOW, to: NOW + 1 }, NOW).to - NOW).toBeLessThanOrEqual(MIN_SPAN / 20);
  });

  it("moves to show an instant, and only as far as needed", () => {
    expect(reveal(view, NOW - HOUR / 2, NOW)).toEqual(view);
    const moved = reveal(view, NOW - 2 * HOUR, NOW);
    expect(moved.from).toBeLessThan(NOW - 2 * HOUR);
    expect(spanOf(moved)).toBe(HOUR);
    expect(spanOf(atPresent(HOUR, NOW))).toBe(HOUR);
  });
});

describe("tick marks", () => {
  it("have room for their labels", () => {
    const view = { from: NOW - DAY, to: NOW };
    expect(tickStep(view, 960, 70)).toBe(2 * HOUR);
    expect(tickStep({ from: NOW - MINUTE, to: NOW }, 600, 70)).toBe(10_000);
  });

  it("fall on round local times, also across a change of the clocks", () => {
    // Central Europe, 25 October 2026: at 01:00 UTC the offset falls from two hours to one.
    const change = Date.UTC(2026, 9, 25, 1);
    const offset = (at: number): number => (at < change ? 2 : 1) * HOUR;
    const at = ticks({ from: change - 9 * HOUR, to: change + 9 * HOUR }, 6 * HOUR, offset);
    expect(at.map((t) => ((t + offset(t)) / HOUR) % 24)).toEqual([18, 0, 6]);
    expect(ticks({ from: 0, to: 3 * HOUR }, HOUR, () => 0)).toEqual([0, HOUR, 2 * HOUR, 3 * HOUR]);
  });
});

describe("the window that is played", () => {
  it("starts before the moment and ends at the present at the latest", () => {
    const at = NOW - 10 * MINUTE;
    const window = playWindow(at, NOW);
    expect(window.from).toBeLessThanOrEqual(at - 2 * MINUTE);
    expect(window.to).toBe(NOW);
    expect(spanOf(playWindow(NOW - DAY, NOW))).toBe(30 * MINUTE);
  });
});

describe("coverage", () => {
  const spans = [
    { start: 1000, end: 5000, fragments: 4, bytes: 400 },
    { start: 9000, end: 12_000, fragments: 3, bytes: 300, cause: "source_lost" as const },
  ];

  it("grows with each durable fragment, and starts a new run after a hole", () => {
    expect(extend(spans, 12_000, 1000, 50).at(-1)).toMatchObject({ start: 9000, end: 13_000, fragments: 4, bytes: 350 });
    expect(extend(spans, 20_000, 1000, 50)).toHaveLength(3);
    expect(extend(spans, 2000, 1000, 50)).toEqual(spans);
    expect(extend([], 1, 2, 3)).toEqual([{ start: 1, end: 3, fragments: 1, bytes: 3 }]);
  });

  it("says why nothing is there", () => {
    expect(spotAt(spans, [], 2000)).toMatchObject({ kind: "recorded" });
    expect(spotAt(spans, [], 6000)).toEqual({ kind: "gap", start: 5000, end: 9000, cause: "source_lost" });
    expect(spotAt(spans, [{ start: 5000, end: 9000, cause: "overload" }], 6000)).toMatchObject({ cause: "overload" });
    expect(spotAt(spans, [], 500).kind).toBe("none");
    expect(spotAt(spans, [], 15_000).kind).toBe("none");
  });
});

describe("detections", () => {
  const at = (time: number, cls = "person", x = 0): Detection => ({ fragment: "1", offset_ms: 0, time, class: cls, score: 0.9, bounds: [x, 0, 1, 1] });
  const list = [at(1000), at(1000, "car"), at(1500), at(4000)];

  it("are counted per bucket and class", () => {
    const counts = density(list, { from: 0, to: 4000 }, 4);
    expect([...counts.get("person")!]).toEqual([0, 2, 0, 0]);
    expect([...counts.get("car")!]).toEqual([0, 1, 0, 0]);
  });

  it("belong to the picture that is shown", () => {
    expect(boxesAt(list, 1000, 600).map((d) => d.class)).toEqual(["person", "car"]);
    expect(boxesAt(list, 1400, 600)).toHaveLength(2);
    expect(boxesAt(list, 1520, 600)).toHaveLength(1);
    expect(boxesAt(list, 2500, 600)).toEqual([]);
    expect(boxesAt(list, 500, 600)).toEqual([]);
  });

  it("are kept once, in order, and not for ever", () => {
    expect(mergeDetections(list, [at(1500), at(900)]).map((d) => d.time)).toEqual([900, 1000, 1000, 1500, 4000]);
    expect(mergeDetections(list, [], 1200).map((d) => d.time)).toEqual([1500, 4000]);
  });
});

describe("media time", () => {
  const segments = [
    { start: 0, duration: 1, programDateTime: 10_000 },
    { start: 1, duration: 1, programDateTime: 11_000 },
    { start: 2, duration: 1, programDateTime: 60_000 },
  ];

  it("is found for a wall-clock time, over gaps too", () => {
    expect(mediaTimeOf(segments, 10_500)).toBe(0.5);
    expect(mediaTimeOf(segments, 30_000)).toBe(2);
    expect(mediaTimeOf(segments, 5000)).toBe(0);
    expect(mediaTimeOf(segments, 99_000)).toBeUndefined();
  });

  it("turns back into wall-clock time", () => {
    expect(wallTimeOf(segments, 0.5)).toBe(10_500);
    expect(wallTimeOf(segments, 2.25)).toBe(60_250);
    expect(wallTimeOf([], 1)).toBeUndefined();
  });
});
