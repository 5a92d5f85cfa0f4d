import type { Deps } from './deps.ts';
import type { LiveAttempt } from './live-attempts.ts';

/** A hand-over that news do not reach is noticed by the older attempt when it renews its lease. */
const renewalsPerLease = 3;

export function renewEveryMs(deps: Pick<Deps, 'settings'>): number {
  return deps.settings.leaseMs / renewalsPerLease;
}

/** Renews an attempt's lease until the returned function is called; an attempt that must give way is told. */
export function keepLease(
  deps: Deps,
  live: LiveAttempt,
  renew: (leaseMs: number) => Promise<'held' | 'yield' | 'lost'>,
): () => void {
  const { leaseMs } = deps.settings;
  return deps.clock.every(renewEveryMs(deps), () => {
    const heldUntilMs = deps.clock.now().getTime() + leaseMs;
    renew(leaseMs).then(
      (lease) => (lease === 'held' ? live.extend(heldUntilMs) : live.yield()),
      () => undefined,
    );
  });
}
