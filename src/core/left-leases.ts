import type { Clock } from './ports.ts';

interface Left {
  readonly giveBack: () => Promise<void>;
  /** Then it has run out by itself. */
  readonly untilMs: number;
}

const tryEveryMs = 1_000;

/**
 * Leases that nobody needs any more and that the records may still have: they did not answer when one was asked for, or
 * given back. It is tried again, so that nobody waits until they run out.
 */
export class LeftLeases {
  readonly #clock: Pick<Clock, 'now' | 'every'>;
  readonly #leaseMs: number;
  readonly #left = new Set<Left>();
  #stop: (() => void) | undefined;
  #isTrying = false;

  constructor(clock: Pick<Clock, 'now' | 'every'>, { leaseMs }: { readonly leaseMs: number }) {
    this.#clock = clock;
    this.#leaseMs = leaseMs;
  }

  /** Gives a lease back, now or later. */
  async giveBack(giveBack: () => Promise<void>): Promise<void> {
    try {
      await giveBack();
    } catch {
      this.leave(giveBack);
    }
  }

  /** @param giveBack ends the lease in the records, if they have it */
  leave(giveBack: () => Promise<void>): void {
    this.#left.add({ giveBack, untilMs: this.#clock.now().getTime() + this.#leaseMs });
    this.#stop ??= this.#clock.every(tryEveryMs, () => void this.#tryAgain());
  }

  async #tryAgain(): Promise<void> {
    if (this.#isTrying) return;
    this.#isTrying = true;
    try {
      for (const left of this.#left) {
        if (this.#clock.now().getTime() < left.untilMs) await left.giveBack();
        this.#left.delete(left);
      }
    } catch {
      // The records are not back yet.
    } finally {
      this.#isTrying = false;
    }
    if (this.#left.size > 0) return;
    this.#stop?.();
    this.#stop = undefined;
  }
}
