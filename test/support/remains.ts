import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { Compositions } from '../../src/core/compositions.ts';
import type { Deps } from '../../src/core/deps.ts';
import { UploadError } from '../../src/core/errors.ts';
import { ExpectedPlaces } from '../../src/core/expected-places.ts';
import { HeldFragments } from '../../src/core/held-fragments.ts';
import { Joins } from '../../src/core/joins.ts';
import { Renewals } from '../../src/core/keep-lease.ts';
import { LeftLeases } from '../../src/core/left-leases.ts';
import { LiveAttempts } from '../../src/core/live-attempts.ts';
import { MemoryBudget } from '../../src/core/memory-budget.ts';
import { StoreError } from '../../src/core/object-store.ts';
import type { Clock } from '../../src/core/ports.ts';
import { newId } from '../../src/core/random.ts';
import { Connection } from '../../src/db/connection.ts';
import { createRecords } from '../../src/db/records.ts';
import { Reaper } from '../../src/reaper/reaper.ts';
import { createS3Store } from '../../src/stores/s3/s3-store.ts';
import { until } from './chunk-client.ts';
import type { TestStore } from './stores.ts';

const MiB = 1024 ** 2;

export interface Place {
  readonly store: TestStore;
  readonly bucket: string;
  readonly databaseUrl: string;
}

/** What may be left of uploads once they have ended. */
export interface Remains {
  /** Keys of staged objects, and of fragment rows. */
  readonly staged: readonly string[];
  readonly fragments: readonly string[];
  /**
   * The store's unfinished uploads to the keys of those on record, as far as they hold parts: what a death between the
   * store's creation and its record leaves costs nothing, and is not looked for.
   */
  readonly unfinished: readonly string[];
}

const clock: Clock = {
  now: () => new Date(),
  sleep: (ms, signal) => sleep(ms, undefined, signal === undefined ? {} : { signal }),
  every: (ms, work) => {
    const timer = setInterval(work, ms);
    timer.unref();
    return () => clearInterval(timer);
  },
};

/** A replica that serves nobody: its reaper works when the test says so, after all the time that work there waits for. */
export class TestReaper implements AsyncDisposable {
  readonly #place: Place;
  readonly #connection: Connection;
  readonly #db: pg.Pool;
  readonly #deps: Deps;

  constructor(place: Place) {
    const { store, bucket, databaseUrl } = place;
    this.#place = place;
    this.#connection = new Connection({ url: databaseUrl, onIdleError: () => undefined });
    this.#db = new pg.Pool({ connectionString: databaseUrl, max: 1 });
    const memory = new MemoryBudget(64 * MiB);
    const records = createRecords(this.#connection, { onNews: () => undefined });
    this.#deps = {
      store: createS3Store({
        endpoint: store.endpoint,
        region: 'us-east-1',
        accessKeyId: store.accessKeyId,
        secretAccessKey: store.secretAccessKey,
        forcePathStyle: true,
        limits: {
          minPartSizeBytes: 5 * MiB,
          maxPartSizeBytes: 5 * 1024 * MiB,
          maxParts: 10_000,
          maxObjectSizeBytes: 5 * 1024 ** 2 * MiB,
          equalParts: false,
        },
      }),
      records,
      clock,
      events: { emit: () => undefined },
      settings: {
        defaultBucket: bucket,
        buckets: new Set([bucket]),
        keyTemplate: '{id}',
        stagingPrefix: '.partway/',
        maxSizeBytes: 5 * 1024 ** 2 * MiB,
        uploadLifetimeMs: 86_400_000,
        storeKeepsMs: undefined,
        retentionMs: 86_400_000,
        bodyIdleMs: 15_000,
        leaseMs: 5_000,
        completeWaitMs: 25_000,
        storeWaitMs: 25_000,
      },
      // Nothing shows that this process lives: its leases end when they run out.
      newLeaseId: () => `00000000${newId().slice(8)}`,
      attempts: new LiveAttempts(clock),
      leftLeases: new LeftLeases(clock, { leaseMs: 5_000 }),
      renewals: new Renewals(clock, { leaseMs: 5_000 }),
      expectedPlaces: new ExpectedPlaces(clock, { leaseMs: 5_000 }),
      memory,
      held: new HeldFragments(memory, clock),
      compositions: new Compositions(),
      joins: new Joins(),
      halted: new AbortController().signal,
    };
  }

  /** One round, with everything due that waits for time to pass. Only while nobody writes: leases end with it. */
  async round(): Promise<void> {
    await this.#db.query(`
      update fragments set lease_until = now() - interval '1 second' where lease_until is not null;
      update parts set attempt_until = now() - interval '1 second' where attempt_id is not null;
      update uploads set claim_until = least(claim_until, now() - interval '1 second'),
                         work_due = least(work_due, now() - interval '1 second')
        where claim_until is not null or work_due is not null`);
    const bugs: unknown[] = [];
    const reaper = new Reaper(this.#deps, { onFault: () => undefined, onBug: (error) => bugs.push(error) });
    await reaper.round().catch((error: unknown) => {
      if (!(error instanceof StoreError || error instanceof UploadError)) throw error;
    });
    await this.#deps.compositions.whenIdle();
    await this.#deps.joins.whenIdle();
    if (bugs.length > 0) throw new AggregateError(bugs, 'the reaper met a bug');
  }

  async remains(): Promise<Remains> {
    const { bucket } = this.#place;
    const { rows } = await this.#db.query<{ staging_key: string }>('select staging_key from fragments');
    const objects = await Array.fromAsync(this.#deps.store.listObjects({ bucket, prefix: '.partway/' }));
    const uploads = await this.#db.query<{ key: string }>('select distinct store_key as key from uploads');
    const unfinished: string[] = [];
    for (const { key } of uploads.rows) {
      for await (const { storeUploadId } of this.#deps.store.listMultipartUploads({ bucket, key })) {
        const parts = await Array.fromAsync(this.#deps.store.listParts({ bucket, key, storeUploadId }));
        if (parts.length > 0) unfinished.push(`${key} ${storeUploadId}`);
      }
    }
    return {
      staged: objects.map(({ key }) => key),
      fragments: rows.map(({ staging_key }) => staging_key),
      unfinished,
    };
  }

  /** Reaps until nothing is left of any upload here; each of them has ended or is whole. Then forgets those that ended. */
  async reapAll(deadlineMs = 20_000): Promise<void> {
    let last: Remains | undefined;
    await until('nothing is left', deadlineMs, async () => {
      await this.round();
      last = await this.remains();
      const isClean = Object.values(last).every((keys) => keys.length === 0);
      return isClean ? true : undefined;
    }).catch((error: unknown) => {
      throw new Error(`left behind: ${JSON.stringify(last)}`, { cause: error });
    });
    await this.#db.query("delete from uploads where state in ('completed', 'aborted')");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#deps.store.close();
    await this.#connection.close();
    await this.#db.end();
  }
}
