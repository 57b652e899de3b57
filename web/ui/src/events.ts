// The server's event stream (SSE): one connection for the page, reconnected with back-off, and a resync after every
// connect, since events that happened in between are not sent again.

import type { ServerEvents } from "./api";
import { Backoff } from "./backoff";

export type LinkState = "connecting" | "open" | "lost";

/** The part of `EventSource` that is used here; tests pass their own. */
export interface Source {
  onopen: ((event: Event) => void) | null;
  onerror: ((event: Event) => void) | null;
  addEventListener(type: string, listener: (event: MessageEvent<string>) => void): void;
  close(): void;
}

export interface EventLinkOptions {
  open: () => Source;
  backoff?: Backoff;
  /** Called after every connect: read everything again. */
  resync: () => void;
  state: (state: LinkState) => void;
  timer?: { set: (run: () => void, ms: number) => unknown; clear: (timer: unknown) => void };
}

type Listener = (data: never) => void;

const NAMES: (keyof ServerEvents)[] = ["fragment", "detections", "alert", "cameras", "rules", "targets", "deliveries", "streams"];

const realTimer = {
  set: (run: () => void, ms: number): unknown => setTimeout(run, ms),
  clear: (timer: unknown) => clearTimeout(timer as ReturnType<typeof setTimeout>),
};

export class EventLink {
  #source: Source | undefined;
  #retry: unknown;
  #listeners = new Map<string, Set<Listener>>();
  readonly #backoff: Backoff;
  readonly #timer: NonNullable<EventLinkOptions["timer"]>;

  constructor(private readonly options: EventLinkOptions) {
    this.#backoff = options.backoff ?? new Backoff();
    this.#timer = options.timer ?? realTimer;
  }

  /** Listens to an event; the answer stops it. */
  on<K extends keyof ServerEvents>(name: K, listener: (data: ServerEvents[K]) => void): () => void {
    const set = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, set);
    set.add(listener as Listener);
    return () => set.delete(listener as Listener);
  }

  start(): void {
    this.stop();
    this.options.state("connecting");
    const source = this.options.open();
    this.#source = source;
    source.onopen = () => {
      this.#backoff.reset();
      this.options.state("open");
      this.options.resync();
    };
    // The browser's own reconnecting gives up for good on an HTTP error: close and do it here, with back-off.
    source.onerror = () => {
      source.close();
      if (this.#source !== source) return;
      this.#source = undefined;
      this.options.state("lost");
      this.#retry = this.#timer.set(() => this.start(), this.#backoff.next());
    };
    // The server dropped events because this page was too slow.
    source.addEventListener("resync", () => this.options.resync());
    for (const name of NAMES) source.addEventListener(name, (event) => this.#dispatch(name, event.data));
  }

  stop(): void {
    this.#timer.clear(this.#retry);
    this.#source?.close();
    this.#source = undefined;
  }

  #dispatch(name: keyof ServerEvents, text: string): void {
    let data: unknown;
    try {
      data = text ? JSON.parse(text) : {};
    } catch {
      console.warn(`event ${name} is not JSON`, text.slice(0, 100));
      return;
    }
    for (const listener of this.#listeners.get(name) ?? []) listener(data as never);
  }
}
