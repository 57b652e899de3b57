import { describe, expect, it } from "vitest";
import { gatheringReason, stunWorked, uriOf, WAYS } from "./player/ice-test";

const uris = ["stun:a:1", "turn:a:1?transport=udp", "turn:a:2?transport=tcp", "turns:a:3?transport=tcp"];

describe("the test of ways to the relay", () => {
  it("finds the URI of each way, and none of a way that is not served", () => {
    expect(WAYS.map((way) => uriOf(way, uris))).toEqual(uris);
    expect(WAYS.map((way) => uriOf(way, uris.slice(0, 2)))).toEqual(["stun:a:1", "turn:a:1?transport=udp", undefined, undefined]);
    expect(uriOf("tcp_relay", ["turns:a:3?transport=tcp"])).toBeUndefined();
  });

  it("says what can be done about an error", () => {
    expect(gatheringReason(701, "", "turn:a:1")).toMatch(/firewall/);
    expect(gatheringReason(486, "Allocation Quota Reached", "turn:a:1")).toMatch(/Quota Reached \(486\).*max_allocations/);
    expect(gatheringReason(401, "Unauthorized", "turn:a:1")).toMatch(/turn:a:1/);
    expect(gatheringReason(300, "", "turn:a:1")).toBe("turn:a:1: error 300.");
  });

  it("takes a gathering without a reflexive candidate and without errors for no NAT", () => {
    expect([stunWorked("1.2.3.4", 1), stunWorked(undefined, 0), stunWorked(undefined, 1)]).toEqual([true, true, false]);
  });
});
