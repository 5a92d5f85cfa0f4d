import { setTimeout as sleep } from 'node:timers/promises';
import type { Settings } from './config.ts';
import { Compositions } from './core/compositions.ts';
import type { CoreSettings, Deps } from './core/deps.ts';
import { ExpectedPlaces } from './core/expected-places.ts';
import { HeldFragments } from './core/held-fragments.ts';
import { Joins } from './core/joins.ts';
import { Renewals } from './core/keep-lease.ts';
import { LeftLeases } from './core/left-leases.ts';
import { LiveAttempts } from './core/live-attempts.ts';
import { MemoryBudget } from './core/memory-budget.ts';
import type { ObjectStore } from './core/object-store.ts';
import type { Clock, Events } from './core/ports.ts';
import type { UploadRecords } from './core/upload-records.ts';
import { defaultBucketOf } from './create-store.ts';

const clock: Clock = {
  now: () => new Date(),
  sleep: (ms, signal) =>
    sleep(ms, undefined, { signal }).catch(() => {
      throw signal?.reason;
    }),
  every: (ms, work) => {
    const timer = setInterval(work, ms);
    timer.unref();
    return () => clearInterval(timer);
  },
};

/** What the verbs of the core work with, in this process. */
export function createCore(
  settings: Settings,
  ports: {
    readonly records: UploadRecords;
    readonly store: ObjectStore;
    readonly events: Events;
    readonly newLeaseId: () => string;
    readonly halted: AbortSignal;
    readonly coreSettings?: Partial<CoreSettings> | undefined;
  },
): Deps {
  const { coreSettings: changed, ...given } = ports;
  const memory = new MemoryBudget(settings.PARTWAY_MEMORY_BUDGET);
  const settingsOfCore = { ...coreSettings(settings), ...changed };
  return {
    ...given,
    clock,
    settings: settingsOfCore,
    attempts: new LiveAttempts(clock),
    leftLeases: new LeftLeases(clock, settingsOfCore),
    renewals: new Renewals(clock, settingsOfCore),
    expectedPlaces: new ExpectedPlaces(clock, settingsOfCore),
    memory,
    held: new HeldFragments(memory, clock),
    compositions: new Compositions(),
    joins: new Joins(),
  };
}

function coreSettings(settings: Settings): CoreSettings {
  const defaultBucket = defaultBucketOf(settings);
  return {
    defaultBucket,
    buckets: new Set([defaultBucket, ...settings.PARTWAY_BUCKETS]),
    keyTemplate: settings.PARTWAY_KEY_TEMPLATE,
    stagingPrefix: settings.PARTWAY_STAGING_PREFIX,
    maxSizeBytes: settings.PARTWAY_MAX_SIZE,
    uploadLifetimeMs: settings.PARTWAY_UPLOAD_LIFETIME,
    storeKeepsMs: settings.PARTWAY_STORE_KEEPS,
    retentionMs: settings.PARTWAY_RETENTION,
    bodyIdleMs: settings.PARTWAY_BODY_IDLE_TIMEOUT,
    leaseMs: 15_000,
    completeWaitMs: 25_000,
    storeWaitMs: 25_000,
  };
}
