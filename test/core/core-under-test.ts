import { randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import { crc32 } from 'node:zlib';
import pg from 'pg';
import { completeUpload } from '../../src/core/complete.ts';
import { Compositions } from '../../src/core/compositions.ts';
import { type CreateInput, createUpload } from '../../src/core/create.ts';
import type { CoreSettings, Deps } from '../../src/core/deps.ts';
import type { Digests } from '../../src/core/digest.ts';
import { UploadError, type UploadErrorCode } from '../../src/core/errors.ts';
import { ExpectedPlaces } from '../../src/core/expected-places.ts';
import { HeldFragments } from '../../src/core/held-fragments.ts';
import { Joins } from '../../src/core/joins.ts';
import { Renewals } from '../../src/core/keep-lease.ts';
import { LeftLeases } from '../../src/core/left-leases.ts';
import { LiveAttempts } from '../../src/core/live-attempts.ts';
import { MemoryBudget } from '../../src/core/memory-budget.ts';
import type { ObjectStore } from '../../src/core/object-store.ts';
import type { UploadEvent } from '../../src/core/ports.ts';
import { type Principal, scopes } from '../../src/core/principal.ts';
import { putPart } from '../../src/core/put-part.ts';
import { newId } from '../../src/core/random.ts';
import type { Part, Upload } from '../../src/core/upload.ts';
import type { UploadRecords } from '../../src/core/upload-records.ts';
import { Connection } from '../../src/db/connection.ts';
import { createRecords } from '../../src/db/records.ts';
import { createTestDatabase } from '../support/postgres.ts';
import { FakeClock } from './fake-clock.ts';
import { Intercepted } from './intercept.ts';
import { openTestStore } from './test-store.ts';

export const principal: Principal = {
  tenant: 'default',
  tenantKeyPrefix: '',
  scopes: new Set(scopes),
  bucket: undefined,
  keyPrefix: '',
};

function leasesOf(clock: FakeClock, settings: CoreSettings) {
  return {
    attempts: new LiveAttempts(clock),
    leftLeases: new LeftLeases(clock, settings),
    renewals: new Renewals(clock, settings),
    expectedPlaces: new ExpectedPlaces(clock, settings),
  };
}

function memoryOf(budgetBytes: number, clock: FakeClock): Pick<Deps, 'memory' | 'held' | 'compositions' | 'joins'> {
  const memory = new MemoryBudget(budgetBytes);
  return { memory, held: new HeldFragments(memory, clock), compositions: new Compositions(), joins: new Joins() };
}

/** The core over a real Postgres and a real store, with time in the test's hands. */
export class CoreUnderTest implements AsyncDisposable {
  readonly deps: Deps;
  readonly clock = new FakeClock();
  readonly events: UploadEvent[] = [];
  readonly store: Intercepted<ObjectStore>;
  readonly records: Intercepted<UploadRecords>;
  readonly bucket: string;
  readonly db: pg.Client;
  readonly #owned: AsyncDisposableStack;

  private constructor(parts: {
    bucket: string;
    store: ObjectStore;
    records: UploadRecords;
    db: pg.Client;
    owned: AsyncDisposableStack;
  }) {
    this.bucket = parts.bucket;
    this.store = new Intercepted(parts.store);
    this.records = new Intercepted(parts.records);
    this.db = parts.db;
    this.#owned = parts.owned;
    this.deps = {
      store: this.store.port,
      records: this.records.port,
      clock: this.clock,
      events: { emit: (event) => this.events.push(event) },
      settings: settingsFor(parts.bucket),
      halted: new AbortController().signal,
      // Nothing shows that this process lives: its leases end when they run out.
      newLeaseId: () => `00000000${newId().slice(8)}`,
      ...leasesOf(this.clock, settingsFor(parts.bucket)),
      ...memoryOf(256 * 1024 * 1024, this.clock),
    };
  }

  static async open(): Promise<CoreUnderTest> {
    await using opened = new AsyncDisposableStack();
    const { store, bucket, stop } = await openTestStore();
    opened.defer(stop);
    const database = await createTestDatabase();
    opened.defer(() => database.drop());
    const connection = new Connection({ url: database.url, onIdleError: () => undefined });
    opened.defer(() => connection.close());
    const db = new pg.Client({ connectionString: database.url });
    await db.connect();
    opened.defer(() => db.end());
    const records = createRecords(connection, { onNews: () => undefined });
    return new CoreUnderTest({ bucket, store, records, db, owned: opened.move() });
  }

  /** The same core in another process: its own clock and attempts, the same records and store. */
  elsewhere(budgetBytes = 256 * 1024 * 1024): Deps {
    const clock = new FakeClock();
    return {
      ...this.deps,
      clock,
      ...leasesOf(clock, this.deps.settings),
      ...memoryOf(budgetBytes, clock),
    };
  }

  /** The smallest size of a part that is not the last. */
  get partSizeBytes(): number {
    return this.deps.store.limits.minPartSizeBytes;
  }

  create(input: Partial<CreateInput> = {}): Promise<Upload> {
    const key = `${randomBytes(8).toString('hex')}.bin`;
    return createUpload(this.deps, { principal, protocol: 'rest', key, partSizeBytes: this.partSizeBytes, ...input });
  }

  put(upload: Upload, partNumber: number, content: Buffer, digests: Digests = {}): Promise<Part> {
    return putPart(this.deps, {
      principal,
      uploadId: upload.id,
      partNumber,
      sizeBytes: content.length,
      digests,
      body: () => Readable.from([content], { objectMode: false }),
    });
  }

  /** An upload whose bytes are all durable: whole parts and a last one of a few bytes. */
  async uploaded(
    partCount: number,
    input: Partial<CreateInput> = {},
  ): Promise<{ upload: Upload; content: Buffer; parts: Part[] }> {
    const contents = [...Array(partCount).keys()].map((index) =>
      randomBytes(index < partCount - 1 ? this.partSizeBytes : 17),
    );
    const content = Buffer.concat(contents);
    const upload = await this.create({ sizeBytes: content.length, ...input });
    const parts: Part[] = [];
    for (const [index, piece] of contents.entries()) parts.push(await this.put(upload, index + 1, piece));
    return { upload, content, parts };
  }

  complete(upload: Upload): ReturnType<typeof completeUpload> {
    return completeUpload(this.deps, { principal, uploadId: upload.id });
  }

  async find(upload: Upload): Promise<Upload> {
    const found = await this.deps.records.find(upload.tenant, upload.id);
    if (found === undefined) throw new Error(`upload ${upload.id} is gone`);
    return found;
  }

  async findPart(upload: Upload, partNumber: number): Promise<Part | undefined> {
    const [part] = await this.deps.records.listParts(upload.id, { after: partNumber - 1, limit: 1 });
    return part?.partNumber === partNumber ? part : undefined;
  }

  /** What is at the upload's key. */
  async objectOf(upload: Upload): Promise<Buffer | undefined> {
    const address = { bucket: upload.bucket, key: upload.storeKey };
    if ((await this.deps.store.headObject(address)) === undefined) return undefined;
    const { body } = await this.deps.store.getObject(address);
    return Buffer.concat(await body.toArray());
  }

  /** The row's claim runs out now, as if its owner had died. */
  async expireClaim(upload: Upload): Promise<void> {
    await this.db.query("update uploads set claim_until = now() - interval '1 second' where id = $1", [upload.id]);
  }

  eventsOf(type: UploadEvent['type']): UploadEvent[] {
    return this.events.filter((event) => event.type === type);
  }

  /** Between tests: nothing fails any more, and nothing is remembered. */
  reset(): void {
    this.store.reset();
    this.records.reset();
    this.events.length = 0;
    this.clock.slept.length = 0;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#owned.disposeAsync();
  }
}

function settingsFor(bucket: string): CoreSettings {
  return {
    defaultBucket: bucket,
    buckets: new Set([bucket]),
    keyTemplate: '{date}/{id}/{filename}',
    stagingPrefix: '.partway/',
    maxSizeBytes: 5 * 1024 ** 4,
    uploadLifetimeMs: 7 * 86_400_000,
    storeKeepsMs: undefined,
    retentionMs: 86_400_000,
    bodyIdleMs: 15_000,
    leaseMs: 15_000,
    completeWaitMs: 25_000,
    storeWaitMs: 25_000,
  };
}

/** The error that the work must end with. */
export async function failureOf(work: Promise<unknown>): Promise<UploadError> {
  const outcome = await work.then(
    (value: unknown) => ({ value }),
    (error: unknown) => ({ error }),
  );
  if ('value' in outcome) throw new Error(`no failure, but ${JSON.stringify(outcome.value)}`);
  if (outcome.error instanceof UploadError) return outcome.error;
  throw outcome.error;
}

export async function codeOf(work: Promise<unknown>): Promise<UploadErrorCode> {
  return (await failureOf(work)).code;
}

export function crc32Of(content: Buffer): string {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(crc32(content));
  return bytes.toString('base64');
}
