// Waiting times between attempts: capped, doubling, jittered. Pure: the caller brings the randomness.

export interface BackoffOptions {
  firstMs: number;
  maxMs: number;
  /** Part of each wait that is random, 0–1. */
  jitter: number;
}

export const DEFAULT_BACKOFF: BackoffOptions = { firstMs: 500, maxMs: 15_000, jitter: 0.4 };

/** How long to wait before attempt number `attempt` (1 is the first retry). `random` is in 0–1. */
export function waitMs(attempt: number, random: number, options: BackoffOptions = DEFAULT_BACKOFF): number {
  const full = Math.min(options.maxMs, options.firstMs * 2 ** Math.min(30, Math.max(0, attempt - 1)));
  return Math.round(full * (1 - options.jitter * random));
}

/** Counts attempts of something that reconnects. */
export class Backoff {
  #attempt = 0;

  constructor(
    private readonly options: BackoffOptions = DEFAULT_BACKOFF,
    private readonly random: () => number = Math.random,
  ) {}

  get attempt(): number {
    return this.#attempt;
  }

  /** Notes a failure and says how long to wait. */
  next(): number {
    this.#attempt += 1;
    return waitMs(this.#attempt, this.random(), this.options);
  }

  reset(): void {
    this.#attempt = 0;
  }
}
