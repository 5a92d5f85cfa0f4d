import { finishAbort } from '../core/abort.ts';
import { claimOf } from '../core/claim.ts';
import type { Deps } from '../core/deps.ts';
import { UploadError } from '../core/errors.ts';
import { finishCompletion } from '../core/finish-completion.ts';
import { finishCovered } from '../core/finish-covered.ts';
import { StoreError } from '../core/object-store.ts';
import { toUploadError } from '../core/store-faults.ts';
import type { Upload } from '../core/upload.ts';

/*
 * What a crash leaves behind is finished here, from the rows alone: a listing of the store is never a reason to
 * abort or delete, since another installation or a restored database looks just like it.
 *
 *   creating, lease over      nobody will open it: closed as not_created. What the store may hold has no parts.
 *   completing, lease over    the object is looked for; else the store's list is compared and Complete called.
 *   aborting, lease over      aborted until the store does not know it.
 *   open, past its time       aborted as expired.
 *   open, covered             covered slots are composed, and what completes by itself is completed.
 *   open, of sources          is put together.
 *   fragment, lease over      the row is retired, then its object deleted, then the row.
 *   ended, retention over     the row goes, once its fragments are gone.
 *
 * Rows are taken with FOR UPDATE SKIP LOCKED and a lease, so any number of replicas may run this loop. Work that
 * fails is taken up again in a later round.
 */

const roundEveryMs = 5_000;
const mostRounds = 5;
const batch = 20;
/** Their parts go with them, up to 10,000 each, in one statement. */
const outdatedBatch = 20;
const fragmentBatch = 500;
/** How long a reaper that dies keeps others from its work. */
const leaseMs = 30_000;

export interface ReaperLog {
  /** Records or store could not be reached: passing. */
  onFault(error: UploadError, upload?: Upload): void;
  onBug(error: unknown, upload?: Upload): void;
}

/** The loop. `stop` waits for the round that is running. */
export class Reaper {
  readonly #deps: Deps;
  readonly #log: ReaperLog;
  readonly #stopping = new AbortController();
  #loop: Promise<void> | undefined;

  constructor(deps: Deps, log: ReaperLog) {
    this.#deps = deps;
    this.#log = log;
  }

  start(): void {
    this.#loop ??= this.#run();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#loop;
  }

  /** A round does not wait for the one before: a store that is slow to complete one upload must not hold up all. */
  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    const underWay = new Set<Promise<void>>();
    while (!signal.aborted) {
      if (underWay.size < mostRounds) {
        const round = this.guardedRound().finally(() => underWay.delete(round));
        underWay.add(round);
      } else {
        await Promise.race(underWay);
      }
      await this.#deps.clock.sleep(roundEveryMs, signal).catch(() => undefined);
    }
    await Promise.all(underWay);
  }

  /** A round whose faults are told to the log, as all others are. */
  async guardedRound(): Promise<void> {
    await this.round().catch((error: unknown) => this.#report(error));
  }

  /** Does all that is due now. */
  async round(): Promise<void> {
    const { records } = this.#deps;
    for (;;) {
      const claimId = this.#deps.newLeaseId();
      const due = await records.claimDue({ claimId, leaseMs, limit: batch });
      const finished = await Promise.all(due.map((item) => this.#finish(item, claimId)));
      // Work that fails is due again at once: a store that is down must not turn this into a busy loop.
      if (due.length < batch || !finished.includes(true) || this.#stopping.signal.aborted) break;
    }
    await this.#sweepFragments();
    await this.#finishCovered();
    while ((await records.deleteOutdated(outdatedBatch)) === outdatedBatch) {
      if (this.#stopping.signal.aborted) break;
    }
  }

  async #sweepFragments(): Promise<void> {
    const { records, store } = this.#deps;
    for (;;) {
      const abandoned = await records.retireAbandoned(fragmentBatch);
      const retired = await records.claimRetired({ leaseMs, limit: fragmentBatch });
      for (const [bucket, fragments] of Map.groupBy(retired, ({ bucket }) => bucket)) {
        await store.deleteObjects({ bucket, keys: fragments.map(({ stagingKey }) => stagingKey) });
        await records.forgetFragments(fragments.map(({ id }) => id));
      }
      const isLast = abandoned < fragmentBatch && retired.length < fragmentBatch;
      if (isLast || this.#stopping.signal.aborted) return;
    }
  }

  async #finishCovered(): Promise<void> {
    for (const upload of await this.#deps.records.claimWork({ leaseMs, limit: batch })) {
      const work = finishCovered(this.#deps, upload).catch((error: unknown) => this.#report(error, upload));
      // What the store copies may take hours: its owner keeps it for as long, and no round waits for it.
      if (upload.sources === undefined) await work;
    }
  }

  async #finish(
    { work, upload }: { work: 'complete' | 'abort' | 'close_uncreated'; upload: Upload },
    claimId: string,
  ): Promise<boolean> {
    try {
      if (work === 'close_uncreated') await this.#deps.records.closeUncreated(upload.id);
      else if (work === 'abort') await finishAbort(this.#deps, claimOf(upload, claimId));
      else await finishCompletion(this.#deps, claimOf(upload, claimId), { takenOver: true, doubtful: true });
      return true;
    } catch (error) {
      this.#report(error, upload);
      return false;
    }
  }

  #report(error: unknown, upload?: Upload): void {
    if (error instanceof StoreError) this.#log.onFault(toUploadError(error) as UploadError, upload);
    else if (error instanceof UploadError) this.#log.onFault(error, upload);
    else this.#log.onBug(error, upload);
  }
}
