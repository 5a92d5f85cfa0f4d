import { decideLayout } from './decide-layout.ts';
import type { Deps } from './deps.ts';
import { notFoundError, notOpen, type OpenUpload, requireOpen, requireSeen } from './find.ts';
import { renewEveryMs } from './keep-lease.ts';
import type { Principal } from './principal.ts';
import { isId } from './random.ts';
import { busyError } from './range-errors.ts';
import type { Part } from './upload.ts';
import type { AttemptAddress } from './upload-records.ts';

const pollMs = 200;

export interface LeasedSlot {
  readonly upload: OpenUpload;
  /** The durable part that the slot has already. */
  readonly part: Part | undefined;
  /** When the lease runs out, on this process's clock, at the earliest. */
  readonly heldUntilMs: number;
}

/**
 * Leases a slot for an attempt; an older attempt at it is asked to yield first. `check` judges the request against
 * the upload before anybody is disturbed.
 * @throws UploadError `busy` when the older attempt's last byte is on its way, or what `check` throws
 */
export async function leaseSlot(
  deps: Deps,
  principal: Principal,
  attempt: AttemptAddress,
  check: (upload: OpenUpload, part: Part | undefined) => void,
): Promise<LeasedSlot> {
  const { leaseMs } = deps.settings;
  const giveUpAtMs = deps.clock.now().getTime() + renewEveryMs(deps.settings) + 1000;
  let asked: string | undefined;
  if (!isId(attempt.uploadId)) throw notFoundError();
  for (;;) {
    const heldUntilMs = deps.clock.now().getTime() + leaseMs;
    const begun = await beginOrDrop(deps, principal, attempt);
    if (begun.kind === 'begun' && begun.upload.layout.kind === 'undecided') {
      // Not left for later: this attempt goes on under its name.
      await deps.records.dropAttempt({ ...attempt, uncertain: false });
      await decideLayout(deps, begun.upload);
      continue;
    }
    if (begun.kind === 'begun') {
      const upload = await orDrop(deps, attempt, () => {
        requireSeen(principal, begun.upload);
        const open = requireOpen(begun.upload);
        check(open, begun.part);
        return open;
      });
      return { upload, part: begun.part, heldUntilMs };
    }
    if (begun.kind === 'not_found') throw notFoundError();
    requireSeen(principal, begun.upload);
    if (begun.kind === 'not_open') throw notOpen(begun.upload);
    check(requireOpen(begun.upload), begun.part);
    if (deps.clock.now().getTime() > giveUpAtMs) throw busyError('this part', begun.retryAfterMs);
    const isNew = begun.attemptId !== asked;
    asked = begun.attemptId;
    await waitForYield(deps, { ...attempt, attemptId: begun.attemptId }, { isNew, retryAfterMs: begun.retryAfterMs });
  }
}

/** A lease whose answer was lost must not keep others off. */
async function beginOrDrop(deps: Deps, principal: Principal, attempt: AttemptAddress) {
  try {
    return await deps.records.beginAttempt({
      ...attempt,
      tenant: principal.tenant,
      leaseMs: deps.settings.leaseMs,
    });
  } catch (error) {
    await giveBack(deps, attempt);
    throw error;
  }
}

function giveBack(deps: Deps, attempt: AttemptAddress): Promise<void> {
  return deps.leftLeases.giveBack(() => deps.records.dropAttempt({ ...attempt, uncertain: false }));
}

async function orDrop<T>(deps: Deps, attempt: AttemptAddress, work: () => T): Promise<T> {
  try {
    return work();
  } catch (error) {
    await giveBack(deps, attempt);
    throw error;
  }
}

async function waitForYield(
  deps: Deps,
  older: AttemptAddress,
  { isNew, retryAfterMs }: { isNew: boolean; retryAfterMs: number },
): Promise<void> {
  const here = deps.attempts.find(older.attemptId);
  if (here === undefined) {
    if (isNew) await deps.records.askToYield(older);
    if (!(await deps.records.endDeadLeases(older.uploadId))) await deps.clock.sleep(pollMs, deps.halted);
    return;
  }
  here.yield();
  if (here.isSealed) throw busyError('this part', retryAfterMs);
  await here.ended;
}
