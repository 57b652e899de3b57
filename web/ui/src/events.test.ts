import { beforeEach, describe, expect, it } from "vitest";
import { Backoff } from "./backoff";
import { EventLink, type LinkState, type Source } from "./events";

class FakeSource implements Source {
  onopen: Source["onopen"] = null;
  onerror: Source["onerror"] = null;
  closed = false;
  listeners = new Map<string, (event: MessageEvent<string>) => void>();
  addEventListener(type: string, listener: (event: MessageEvent<string>) => void): void {
    this.listeners.set(type, listener);
  }
  close(): void {
    this.closed = true;
  }
  say(type: string, data: string): void {
    this.listeners.get(type)?.({ data } as MessageEvent<string>);
  }
}

let sources: FakeSource[];
let states: LinkState[];
let timers: { run: () => void; ms: number; cleared: boolean }[];
let resyncs: number;
let link: EventLink;
const last = (): FakeSource => sources[sources.length - 1]!;

beforeEach(() => {
  sources = [];
  states = [];
  timers = [];
  resyncs = 0;
  link = new EventLink({
    open: () => {
      sources.push(new FakeSource());
      return last();
    },
    backoff: new Backoff({ firstMs: 500, maxMs: 4000, jitter: 0 }),
    resync: () => (resyncs += 1),
    state: (state) => states.push(state),
    timer: {
      set: (run, ms) => timers[timers.push({ run, ms, cleared: false }) - 1],
      clear: (timer) => {
        if (timer) (timer as { cleared: boolean }).cleared = true;
      },
    },
  });
});

describe("the event link", () => {
  it("resyncs after every connect, and waits longer after each failure", () => {
    link.start();
    last().onopen?.(new Event("open"));
    expect(resyncs).toBe(1);
    last().onerror?.(new Event("error"));
    expect(last().closed).toBe(true);
    timers[0]!.run();
    last().onerror?.(new Event("error"));
    expect(timers.map((t) => t.ms)).toEqual([500, 1000]);
    timers[1]!.run();
    last().onopen?.(new Event("open"));
    expect(resyncs).toBe(2);
    expect(states).toEqual(["connecting", "open", "lost", "connecting", "lost", "connecting", "open"]);
    last().onerror?.(new Event("error"));
    expect(timers[2]!.ms).toBe(500);
  });

  it("ignores an error of a connection that was replaced", () => {
    link.start();
    const old = last();
    link.start();
    old.onerror?.(new Event("error"));
    expect(timers).toHaveLength(0);
  });

  it("hands parsed events to their listeners, and survives what is no JSON", () => {
    const seen: unknown[] = [];
    const off = link.on("detections", (data) => seen.push(data.stream));
    link.start();
    last().say("detections", '{"stream":"gate","detections":[]}');
    last().say("detections", "{");
    off();
    last().say("detections", '{"stream":"yard","detections":[]}');
    expect(seen).toEqual(["gate"]);
  });

  it("resyncs when the server says that events were dropped", () => {
    link.start();
    last().onopen?.(new Event("open"));
    last().say("resync", '{"missed":7}');
    expect(resyncs).toBe(2);
  });

  it("does not come back after stop", () => {
    link.start();
    last().onerror?.(new Event("error"));
    link.stop();
    expect(timers[0]!.cleared).toBe(true);
    expect(last().closed).toBe(true);
  });
});
