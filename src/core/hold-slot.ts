import type { Deps } from './deps.ts';
import { type KeptLease, keepLease } from './keep-lease.ts';
import { StoreError } from './object-store.ts';
import type { AttemptAddress } from './upload-records.ts';

/** A slot whose lease this process renews. */
export interface HeldSlot extends KeptLease {
  /** Frees the slot at once, and remembers where the store may still be at work. @param reason why it will not count */
  giveBack(reason: unknown): Promise<void>;
}

/** @param heldUntilMs when the lease runs out, on this process's clock, at the earliest */
export function holdSlot(deps: Deps, attempt: AttemptAddress, heldUntilMs: number): HeldSlot {
  const { leftLeases, records } = deps;
  const { attemptId } = attempt;
  const kept = keepLease(deps, { attemptId, heldUntilMs }, (leaseMs) => records.renewAttempt({ ...attempt, leaseMs }));
  return {
    ...kept,
    giveBack: (reason) => {
      const isRefused = reason instanceof StoreError && reason.kind !== 'unavailable';
      const uncertain = kept.live.isSealed && !isRefused;
      return leftLeases.giveBack(() => records.dropAttempt({ ...attempt, uncertain }));
    },
  };
}
