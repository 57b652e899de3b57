import { describe, expect, it } from "vitest";
import { Backoff, waitMs } from "./backoff";

const options = { firstMs: 500, maxMs: 15_000, jitter: 0.4 };

describe("waiting between attempts", () => {
  it("doubles up to the cap", () => {
    expect([1, 2, 3, 4, 5, 6, 7].map((n) => waitMs(n, 0, options))).toEqual([500, 1000, 2000, 4000, 8000, 15_000, 15_000]);
  });

  it("takes at most the jitter's part off, and never overflows", () => {
    expect(waitMs(3, 1, options)).toBe(1200);
    expect(waitMs(10_000, 1, options)).toBe(9000);
    expect(waitMs(0, 0, options)).toBe(500);
  });

  it("starts over after a success", () => {
    const backoff = new Backoff(options, () => 0);
    expect([backoff.next(), backoff.next()]).toEqual([500, 1000]);
    backoff.reset();
    expect(backoff.next()).toBe(500);
  });
});
