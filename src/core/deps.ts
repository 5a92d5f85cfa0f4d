import type { Compositions } from './compositions.ts';
import type { ExpectedPlaces } from './expected-places.ts';
import type { HeldFragments } from './held-fragments.ts';
import type { Joins } from './joins.ts';
import type { Renewals } from './keep-lease.ts';
import type { LeftLeases } from './left-leases.ts';
import type { LiveAttempts } from './live-attempts.ts';
import type { MemoryBudget } from './memory-budget.ts';
import type { ObjectStore } from './object-store.ts';
import type { Clock, Events } from './ports.ts';
import type { UploadRecords } from './upload-records.ts';

export interface CoreSettings {
  readonly defaultBucket: string;
  /** All buckets that may be named, the default one among them. */
  readonly buckets: ReadonlySet<string>;
  readonly keyTemplate: string;
  /** Keys under it are the gateway's own. */
  readonly stagingPrefix: string;
  readonly maxSizeBytes: number;
  readonly uploadLifetimeMs: number;
  /** How long the store keeps an unfinished upload, as configured; the store's own word counts where this is unset. */
  readonly storeKeepsMs: number | undefined;
  /** How long an ended upload's row stays. */
  readonly retentionMs: number;
  /** A client that sends nothing for so long has stalled. Shorter than any store's own idle limit. */
  readonly bodyIdleMs: number;
  /** The lease of an attempt at a part, of a creation, and of a claim. Renewed while the work goes on. */
  readonly leaseMs: number;
  /** How long a second complete waits for the first. */
  readonly completeWaitMs: number;
  /** How long a report, an abort or a read waits for a store that does not answer. */
  readonly storeWaitMs: number;
}

/** What every verb of the core works with. */
export interface Deps {
  readonly records: UploadRecords;
  readonly store: ObjectStore;
  readonly clock: Clock;
  readonly events: Events;
  readonly settings: CoreSettings;
  /** An id for an attempt, a writer or a claim, by which the records know whether the process that has it still lives. */
  readonly newLeaseId: () => string;
  readonly attempts: LiveAttempts;
  readonly leftLeases: LeftLeases;
  readonly renewals: Renewals;
  readonly expectedPlaces: ExpectedPlaces;
  readonly memory: MemoryBudget;
  readonly held: HeldFragments;
  readonly compositions: Compositions;
  readonly joins: Joins;
  /** Aborts, with an UploadError, when the process stops and calls to the store must end. */
  readonly halted: AbortSignal;
}
