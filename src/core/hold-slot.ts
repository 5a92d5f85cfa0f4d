import type { Deps } from './deps.ts';
import { keepLease } from './keep-lease.ts';
import type { LiveAttempt } from './live-attempts.ts';
import { StoreError } from './object-store.ts';
import type { AttemptAddress } from './upload-records.ts';

/** A slot whose lease this process renews. */
export interface HeldSlot {
  readonly live: LiveAttempt;
  /** Frees the slot at once, and remembers where the store may still be at work. @param reason why it will not count */
  giveBack(reason: unknown): Promise<void>;
  /** Renews the lease no more. */
  end(): void;
}

/** @param heldUntilMs when the lease runs out, on this process's clock, at the earliest */
export function holdSlot(deps: Deps, attempt: AttemptAddress, heldUntilMs: number): HeldSlot {
  const { attempts, leftLeases, records } = deps;
  const live = attempts.begin(attempt.attemptId, heldUntilMs);
  const stopRenewing = keepLease(deps, live, (leaseMs) => records.renewAttempt({ ...attempt, leaseMs }));
  return {
    live,
    giveBack: (reason) => {
      const isRefused = reason instanceof StoreError && reason.kind !== 'unavailable';
      const uncertain = live.isSealed && !isRefused;
      return leftLeases.giveBack(() => records.dropAttempt({ ...attempt, uncertain }));
    },
    end: () => {
      stopRenewing();
      live.end();
    },
  };
}
