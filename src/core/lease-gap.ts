import type { Deps } from './deps.ts';
import { mayBeExpected } from './expect-next.ts';
import { type KeptLease, keepLease } from './keep-lease.ts';
import type { Slot } from './layout.ts';
import type { LiveAttempt } from './live-attempts.ts';
import type { RangeWrite } from './range-write.ts';
import { nameFragment } from './read-fragment.ts';
import type { Run } from './upload.ts';

/** A gap of a slot that is leased for a fragment, and what is durable around it. */
export interface LeasedGap extends KeptLease {
  readonly runs: readonly Run[];
  /** `undefined` where all of the range is durable: then nothing is leased. */
  readonly gap: { readonly from: number; readonly to: number } | undefined;
  readonly fragmentId: string;
  readonly stagingKey: string;
  readonly attemptId: string;
  /** It was on record as expected: others may have come first when it is committed. */
  readonly isExpected: boolean;
}

/**
 * Leases the first gap of a range, unless that is the place that was expected next.
 * @param tooLate an attempt of this request's at it for which others were quicker
 * @throws UploadError
 */
export async function leaseGap(
  write: RangeWrite,
  slot: Slot,
  range: { readonly from: number; readonly to: number },
  tooLate?: LiveAttempt,
): Promise<LeasedGap> {
  const { deps, upload } = write;
  const expected = mayBeExpected(write) ? deps.expectedPlaces.take(upload.id, range) : undefined;
  if (expected !== undefined) {
    return keepGap(deps, expected, { runs: [], gap: range, isExpected: true, heldUntilMs: expected.keptUntilMs });
  }
  const name = nameFragment(deps, upload.id);
  const { runs, gap, attemptId, heldUntilMs } = await write.lease(slot, range, {
    begin: (wanted) => deps.records.beginFragment({ ...wanted, ...name }),
    drop: (attemptId) => deps.records.withdrawFragment({ fragmentId: name.fragmentId, attemptId }),
    tooLate,
  });
  return keepGap(deps, { ...name, attemptId }, { runs, gap, isExpected: false, heldUntilMs });
}

/** A gap that is on record. */
function keepGap(
  deps: Deps,
  { fragmentId, stagingKey, attemptId }: Pick<LeasedGap, 'fragmentId' | 'stagingKey' | 'attemptId'>,
  leased: Pick<LeasedGap, 'runs' | 'gap' | 'isExpected'> & { readonly heldUntilMs: number },
): LeasedGap {
  const { runs, gap, isExpected, heldUntilMs } = leased;
  const kept = keepLease(deps, { attemptId, heldUntilMs }, async (leaseMs) =>
    gap === undefined || (await deps.records.renewFragment({ fragmentId, attemptId, leaseMs })) ? 'held' : 'lost',
  );
  return { ...kept, runs, gap, fragmentId, stagingKey, attemptId, isExpected };
}

/** Nothing came for the gap. */
export async function giveBack({ deps }: RangeWrite, { gap, fragmentId, attemptId, end }: LeasedGap): Promise<void> {
  end();
  if (gap === undefined) return;
  await deps.leftLeases.giveBack(() => deps.records.withdrawFragment({ fragmentId, attemptId }));
}
