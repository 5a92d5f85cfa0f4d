import type { Deps } from './deps.ts';
import type { LiveAttempt } from './live-attempts.ts';
import type { Clock } from './ports.ts';

/** A hand-over that news do not reach is noticed by the older attempt when it renews its lease. */
const renewalsPerLease = 3;

export function renewEveryMs({ leaseMs }: { readonly leaseMs: number }): number {
  return leaseMs / renewalsPerLease;
}

/** When leases are renewed: all of this process in the same moment, so that the records can do it in one statement. */
export class Renewals {
  readonly #clock: Pick<Clock, 'every'>;
  readonly #everyMs: number;
  readonly #renewing = new Set<() => void>();
  #stop: (() => void) | undefined;

  constructor(clock: Pick<Clock, 'every'>, settings: { readonly leaseMs: number }) {
    this.#clock = clock;
    this.#everyMs = renewEveryMs(settings);
  }

  /** @returns ends it */
  add(renew: () => void): () => void {
    this.#renewing.add(renew);
    this.#stop ??= this.#clock.every(this.#everyMs, () => {
      for (const each of this.#renewing) each();
    });
    return () => {
      this.#renewing.delete(renew);
      if (this.#renewing.size > 0) return;
      this.#stop?.();
      this.#stop = undefined;
    };
  }
}

/** An attempt whose lease this process renews. */
export interface KeptLease {
  readonly live: LiveAttempt;
  /** The attempt has left: its lease is renewed no more. */
  end(): void;
}

/**
 * Renews an attempt's lease until it ends; an attempt that must give way is told.
 * @param heldUntilMs when the lease runs out, on this process's clock, at the earliest
 */
export function keepLease(
  deps: Deps,
  { attemptId, heldUntilMs }: { readonly attemptId: string; readonly heldUntilMs: number },
  renew: (leaseMs: number) => Promise<'held' | 'yield' | 'lost'>,
): KeptLease {
  const { leaseMs } = deps.settings;
  const live = deps.attempts.begin(attemptId, heldUntilMs);
  const stopRenewing = deps.renewals.add(() => {
    const heldUntilMs = deps.clock.now().getTime() + leaseMs;
    renew(leaseMs).then(
      (lease) => (lease === 'held' ? live.extend(heldUntilMs) : live.yield()),
      () => undefined,
    );
  });
  return {
    live,
    end: () => {
      stopRenewing();
      live.end();
    },
  };
}
