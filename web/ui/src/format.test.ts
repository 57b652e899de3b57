import { describe as suite, expect, it } from "vitest";
import * as f from "./format";

const AT = Date.UTC(2026, 10, 23, 6, 1, 21, 42);

suite("times", () => {
  it("are shown in UTC when asked", () => {
    expect(f.clock(AT, "utc")).toBe("06:01:21");
    expect(f.clock(Date.UTC(2026, 10, 23, 0, 0, 5), "utc")).toBe("00:00:05");
    expect(f.day(AT, "utc")).toBe("Mon 23 Nov 2026");
    expect(f.zoneLabel("utc", AT)).toBe("UTC");
  });

  it("name the day only when it is not today", () => {
    expect(f.moment(AT, AT + 3_600_000, "utc")).toBe("06:01:21");
    expect(f.moment(AT, AT + 86_400_000, "utc")).toBe("23 Nov, 06:01:21");
  });

  it("say how long ago", () => {
    expect([500, 12_000, 200_000, 3 * 3_600_000, 50 * 3_600_000].map((ms) => f.ago(AT - ms, AT))).toEqual([
      "just now", "12 s ago", "3 min ago", "3 h ago", "2 d ago",
    ]);
    expect([840, 9_840, 64_000, 7_500_000, 273_600_000].map(f.spanExact)).toEqual(["0.8 s", "9.8 s", "1 min 04 s", "2 h 05 min", "3 d 4 h"]);
  });
});

suite("figures", () => {
  it("have a sensible number of digits", () => {
    expect([0, NaN, 999, 820_400, 2_440_000, 48_300_000].map(f.bitrate)).toEqual(["–", "–", "999 bit/s", "820 kbit/s", "2.4 Mbit/s", "48 Mbit/s"]);
    expect([0, 25.02, 12.5, 29.97].map(f.fps)).toEqual(["–", "25 fps", "12.5 fps", "30 fps"]);
    expect([0, 640, 12_400_000, 999_600_000, 314_000_000_000].map(f.bytes)).toEqual(["0 B", "640 B", "12.4 MB", "1.0 GB", "314 GB"]);
  });
});

suite("codec strings", () => {
  it("become words", () => {
    expect(f.describe("avc1.64001f 1280x720 · mp4a.40.2")).toBe("H.264 High 3.1 1280×720 · AAC");
    expect(f.describe("hvc1.1.6.L93 640x360")).toBe("hvc1.1.6.L93 640×360");
  });
});

suite("causes", () => {
  it("never leave the reader alone", () => {
    expect(f.causeText("source_lost")).toContain("connection");
    expect(f.causeText(null)).toBe("cause unknown");
  });
});
