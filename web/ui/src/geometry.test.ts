import { describe, expect, it } from "vitest";
import type { Corner } from "./api";
import { addCorner, anchorOf, bestColumns, clampCorner, contains, containRect, crossesItself, MAX_CORNERS, moveCorner, removeCorner, splitEdge } from "./geometry";

const SQUARE: Corner[] = [[0.2, 0.2], [0.8, 0.2], [0.8, 0.8], [0.2, 0.8]];

describe("a zone", () => {
  it("contains what is inside it; an empty one contains everything", () => {
    expect(contains(SQUARE, [0.5, 0.5])).toBe(true);
    expect(contains(SQUARE, [0.1, 0.5])).toBe(false);
    expect(contains([], [0.1, 0.5])).toBe(true);
    const notch: Corner[] = [[0, 0], [1, 0], [1, 1], [0.5, 0.2], [0, 1]];
    expect(contains(notch, [0.5, 0.6])).toBe(false);
    expect(contains(notch, [0.1, 0.6])).toBe(true);
  });

  it("judges a box by the middle of its lower edge", () => {
    expect(anchorOf([0.2, 0.1, 0.4, 0.9])).toEqual([0.30000000000000004, 0.9]);
  });

  it("takes a new corner into its nearest edge", () => {
    expect(addCorner(SQUARE, [0.5, 0.1])[1]).toEqual([0.5, 0.1]);
    expect(addCorner(SQUARE, [0.1, 0.5])[4]).toEqual([0.1, 0.5]);
    expect(addCorner([[0, 0]], [1, 1])).toEqual([[0, 0], [1, 1]]);
    const full = Array.from({ length: MAX_CORNERS }, (_, i): Corner => [i / MAX_CORNERS, 0]);
    expect(addCorner(full, [0.5, 0.5])).toHaveLength(MAX_CORNERS);
  });

  it("splits an edge, moves and removes corners, and keeps them in the picture", () => {
    expect(splitEdge(SQUARE, 3)[4]).toEqual([0.2, 0.5]);
    expect(moveCorner(SQUARE, 0, [-3, 0.123456])[0]).toEqual([0, 0.1235]);
    expect(removeCorner(SQUARE, 1)).toHaveLength(3);
    expect(removeCorner(SQUARE.slice(0, 3), 1)).toEqual([]);
    expect(clampCorner([2, NaN])[0]).toBe(1);
  });

  it("knows when its edges cross", () => {
    expect(crossesItself(SQUARE)).toBe(false);
    expect(crossesItself([SQUARE[0]!, SQUARE[2]!, SQUARE[1]!, SQUARE[3]!])).toBe(true);
  });
});

describe("layout", () => {
  it("fits a picture into a frame", () => {
    expect(containRect(400, 400, 1600, 900)).toEqual({ x: 0, y: 87.5, width: 400, height: 225 });
    expect(containRect(400, 300, 0, 0)).toEqual({ x: 0, y: 0, width: 400, height: 300 });
  });

  it("chooses the columns that make tiles largest", () => {
    const aspect = 16 / 9;
    expect([1, 4, 9].map((n) => bestColumns(n, 1600, 900, aspect, 240))).toEqual([1, 2, 3]);
    expect(bestColumns(2, 1920, 600, aspect, 240)).toBe(2);
    expect(bestColumns(40, 390, 800, aspect, 240)).toBe(1);
    expect(bestColumns(100, 1000, 500, aspect, 240)).toBe(4);
  });
});
