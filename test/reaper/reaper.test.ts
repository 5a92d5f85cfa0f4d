import { randomBytes } from 'node:crypto';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Deps } from '../../src/core/deps.ts';
import { UploadError } from '../../src/core/errors.ts';
import { StoreError } from '../../src/core/object-store.ts';
import type { Clock } from '../../src/core/ports.ts';
import { newId } from '../../src/core/random.ts';
import type { Upload } from '../../src/core/upload.ts';
import { Reaper } from '../../src/reaper/reaper.ts';
import { CoreUnderTest, codeOf } from '../core/core-under-test.ts';

let core: CoreUnderTest;
let reaper: Reaper;
const faults: { error: UploadError; upload?: Upload }[] = [];
const bugs: unknown[] = [];

beforeAll(async () => {
  core = await CoreUnderTest.open();
});
afterAll(() => core[Symbol.asyncDispose]());
beforeEach(async () => {
  await core.db.query('delete from uploads');
  reaper = reaperOf(core.deps);
});
afterEach(() => {
  core.reset();
  faults.length = 0;
  bugs.length = 0;
});

function reaperOf(deps: Deps): Reaper {
  return new Reaper(deps, {
    onFault: (error, upload) => faults.push({ error, ...(upload && { upload }) }),
    onBug: (error) => bugs.push(error),
  });
}

const noAnswer = () => new StoreError('unavailable', 'the line was cut');
const recordsGone = () => new UploadError('records_unavailable', 'gone');

function addressOf(upload: Upload) {
  return { bucket: upload.bucket, key: upload.storeKey, storeUploadId: upload.storeUploadId! };
}

async function isAtStore(upload: Upload): Promise<boolean> {
  const listed = await Array.fromAsync(core.deps.store.listMultipartUploads(addressOf(upload)));
  return listed.length > 0;
}

function callsOf(name: string): number {
  return core.store.calls.filter((call) => call === name).length;
}

function claimsMade(): number {
  return core.records.calls.filter((call) => call === 'claimDue').length;
}

async function outlive(upload: Upload): Promise<void> {
  await core.db.query("update uploads set expires_at = now() - interval '1 second' where id = $1", [upload.id]);
}

/** An upload whose owner claimed it to complete it and died. */
async function leftCompleting(partCount = 1): ReturnType<CoreUnderTest['uploaded']> {
  const uploaded = await core.uploaded(partCount);
  const { kind } = await core.deps.records.claimCompletion({ id: uploaded.upload.id, claimId: newId(), leaseMs: 0 });
  expect(kind).toBe('claimed');
  return uploaded;
}

async function leftAborting(): Promise<Upload> {
  const upload = await core.create({ sizeBytes: 100 });
  await core.deps.records.claimAbort({ id: upload.id, claimId: newId(), leaseMs: 0, reason: 'requested' });
  return upload;
}

/** A creation whose process died before the store had answered. */
async function leftCreating(idempotencyKey?: string): Promise<Upload> {
  let left: Upload | undefined;
  core.records.next('insert', async (proceed) => {
    const inserted = await proceed();
    left = inserted.upload;
    throw recordsGone();
  });
  await expect(core.create({ sizeBytes: 1, idempotencyKey })).rejects.toThrow();
  await core.expireClaim(left!);
  return left!;
}

describe('a round of the reaper', () => {
  it('closes a creation that nobody will end, without asking the store, and frees its idempotency key', async () => {
    const idempotencyKey = newId();
    const left = await leftCreating(idempotencyKey);
    core.store.calls.length = 0;
    await reaper.round();
    expect(await core.find(left)).toMatchObject({ state: 'aborted', reason: 'not_created' });
    expect(core.store.calls).toEqual([]);
    expect(await core.create({ sizeBytes: 1, idempotencyKey })).toMatchObject({ state: 'open' });
  });

  it('leaves a creation alone whose lease holds', async () => {
    core.store.next('createMultipartUpload', async (proceed) => {
      await reaper.round();
      return proceed();
    });
    expect(await core.create({ sizeBytes: 1 })).toMatchObject({ state: 'open' });
  });

  it('completes what a dead owner left, after it compared the list of the store', async () => {
    const { upload, content } = await leftCompleting(2);
    core.store.calls.length = 0;
    await reaper.round();
    expect(await core.find(upload)).toMatchObject({ state: 'completed', sizeBytes: content.length });
    expect((await core.objectOf(upload))?.equals(content)).toBe(true);
    expect(core.store.calls.slice(0, 3)).toEqual(['headObject', 'listParts', 'completeMultipartUpload']);
    expect(core.eventsOf('upload_completed')).toHaveLength(1);
  });

  it('finds the object that a dead owner made', async () => {
    const { upload, content, parts } = await leftCompleting(2);
    await core.deps.store.completeMultipartUpload({ ...addressOf(upload), parts });
    core.store.calls.length = 0;
    await reaper.round();
    expect(await core.find(upload)).toMatchObject({ state: 'completed' });
    expect((await core.objectOf(upload))?.equals(content)).toBe(true);
    expect(callsOf('completeMultipartUpload')).toBe(0);
  });

  it('ends as lost what the store has dropped', async () => {
    const { upload } = await leftCompleting();
    await core.deps.store.abortMultipartUpload(addressOf(upload));
    await reaper.round();
    expect(await core.find(upload)).toMatchObject({ state: 'aborted', reason: 'lost' });
  });

  it('opens again what the store holds otherwise, so that its client can go on', async () => {
    const { upload } = await leftCompleting();
    const other = randomBytes(17);
    await core.deps.store.uploadPart({ ...addressOf(upload), partNumber: 1, body: other, sizeBytes: other.length });
    await reaper.round();
    expect(await core.find(upload)).toMatchObject({ state: 'open', receivedBytes: 0 });
    expect(faults).toMatchObject([{ error: { code: 'incomplete' }, upload: { id: upload.id } }]);
  });

  it('goes on with an abort until the store does not know the upload', async () => {
    const upload = await leftAborting();
    core.store.next('abortMultipartUpload', async () => undefined);
    await reaper.round();
    expect(await core.find(upload)).toMatchObject({ state: 'aborted', reason: 'requested' });
    expect(await isAtStore(upload)).toBe(false);
    expect(callsOf('abortMultipartUpload')).toBe(2);
    expect(core.eventsOf('upload_aborted')).toHaveLength(1);
  });

  it('aborts an open upload past its time, and takes no part for it any more', async () => {
    const upload = await core.create({ sizeBytes: 100 });
    const young = await core.create({ sizeBytes: 100 });
    await outlive(upload);
    core.store.next('uploadPart', async (proceed) => {
      await reaper.round();
      return proceed();
    });
    expect(await codeOf(core.put(upload, 1, randomBytes(100)))).toBe('upload_gone');
    expect(await core.find(upload)).toMatchObject({ state: 'aborted', reason: 'expired' });
    expect(await isAtStore(upload)).toBe(false);
    expect((await core.find(young)).state).toBe('open');
    expect(await isAtStore(young)).toBe(true);
  });

  it('deletes ended rows whose retention is over, however many', async () => {
    const { upload: kept } = await core.uploaded(1);
    await core.complete(kept);
    const { upload } = await core.uploaded(1);
    await core.complete(upload);
    await outlive(upload);
    await core.db.query(`
      insert into uploads (id, tenant, protocol, state, bucket, key, store_key, token, layout, expires_at)
      select 'old-' || n, 'default', 'rest', 'aborted', 'core', 'k', 'k', 't', 'free', now() from generate_series(1, 45) n`);
    await reaper.round();
    const { rows } = await core.db.query('select id from uploads');
    expect(rows).toEqual([{ id: kept.id }]);
    expect(await core.objectOf(upload)).toBeDefined();
  });

  it('leaves what a living owner holds, and what nobody has claimed', async () => {
    const { upload } = await core.uploaded(1);
    const { upload: held } = await core.uploaded(1);
    await core.deps.records.claimCompletion({ id: held.id, claimId: newId(), leaseMs: 60_000 });
    core.store.calls.length = 0;
    await reaper.round();
    expect((await core.find(upload)).state).toBe('open');
    expect((await core.find(held)).state).toBe('completing');
    expect(core.store.calls).toEqual([]);
  });

  it('asks the store for nothing that no row names', async () => {
    const stranger = { bucket: core.bucket, key: 'stranger' };
    await core.deps.store.createMultipartUpload({ ...stranger, metadata: {} });
    core.store.calls.length = 0;
    await reaper.round();
    expect(core.store.calls).toEqual([]);
    expect(await Array.fromAsync(core.deps.store.listMultipartUploads(stranger))).toHaveLength(1);
  });

  it('goes on after a full batch', async () => {
    const left = await Promise.all([...Array(21).keys()].map(() => leftAborting()));
    await reaper.round();
    for (const upload of left) expect((await core.find(upload)).state).toBe('aborted');
    expect(claimsMade()).toBe(2);
  });
});

describe('two reapers at once', () => {
  it('do each row once', async () => {
    const completing = await Promise.all([...Array(6).keys()].map(() => leftCompleting()));
    const aborting = await Promise.all([...Array(6).keys()].map(() => leftAborting()));
    const open = await Promise.all([...Array(6).keys()].map(() => core.create({ sizeBytes: 100 })));
    for (const upload of open) await outlive(upload);
    core.store.calls.length = 0;
    await Promise.all([reaper.round(), reaperOf(core.elsewhere()).round(), reaperOf(core.elsewhere()).round()]);
    for (const { upload, content } of completing) {
      expect((await core.find(upload)).state).toBe('completed');
      expect((await core.objectOf(upload))?.equals(content)).toBe(true);
    }
    for (const upload of [...aborting, ...open]) expect((await core.find(upload)).state).toBe('aborted');
    expect(callsOf('completeMultipartUpload')).toBe(6);
    expect(callsOf('abortMultipartUpload')).toBe(12);
    expect(core.eventsOf('upload_completed')).toHaveLength(6);
    expect(core.eventsOf('upload_aborted')).toHaveLength(12);
    expect([faults, bugs]).toEqual([[], []]);
  });

  it('delete each outdated row once', async () => {
    await core.db.query(`
      insert into uploads (id, tenant, protocol, state, bucket, key, store_key, token, layout, expires_at)
      select 'old-' || n, 'default', 'rest', 'aborted', 'core', 'k', 'k', 't', 'free', now() from generate_series(1, 90) n`);
    let deleted = 0;
    core.records.always('deleteOutdated', async (proceed) => {
      const count = await proceed();
      deleted += count;
      return count;
    });
    await Promise.all([reaper.round(), reaperOf(core.elsewhere()).round()]);
    await reaper.round();
    expect(deleted).toBe(90);
  });
});

describe('work that fails', () => {
  it('is told, ends the round and is due again', async () => {
    const { upload, content } = await leftCompleting();
    core.store.always('completeMultipartUpload', async () => {
      throw noAnswer();
    });
    await reaper.round();
    expect(faults).toMatchObject([{ error: { code: 'store_unavailable' }, upload: { id: upload.id } }]);
    expect((await core.find(upload)).state).toBe('completing');
    expect(claimsMade()).toBe(1);
    core.store.reset();
    await reaper.round();
    expect((await core.objectOf(upload))?.equals(content)).toBe(true);
  });

  it('does not become a busy loop where a whole batch fails', async () => {
    await Promise.all([...Array(25).keys()].map(() => leftAborting()));
    core.store.always('abortMultipartUpload', async () => {
      throw noAnswer();
    });
    await reaper.round();
    expect(claimsMade()).toBe(1);
    expect(callsOf('abortMultipartUpload')).toBe(20);
  });

  it('does not keep the rest from its turn', async () => {
    const failing = new Set<string>();
    for (let n = 0; n < 20; n++) failing.add((await leftAborting()).storeUploadId!);
    const waiting = await leftAborting();
    core.store.always('abortMultipartUpload', async (proceed, { storeUploadId }) => {
      if (failing.has(storeUploadId)) throw noAnswer();
      return proceed();
    });
    await reaper.round();
    expect((await core.find(waiting)).state).toBe('aborting');
    await reaper.round();
    expect((await core.find(waiting)).state).toBe('aborted');
  });

  it('does not end the others of its batch', async () => {
    const [bad, good] = [await leftAborting(), await leftAborting()];
    core.store.always('abortMultipartUpload', async (proceed, { storeUploadId }) => {
      if (storeUploadId === bad.storeUploadId) throw new Error('a bug');
      return proceed();
    });
    await reaper.round();
    expect((await core.find(good)).state).toBe('aborted');
    expect((await core.find(bad)).state).toBe('aborting');
    expect(bugs).toMatchObject([{ message: 'a bug' }]);
  });
});

/** The pause between rounds ends when the test says so. */
class LoopClock implements Clock {
  readonly #clock: Clock;
  #wake: (() => void) | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  now(): Date {
    return this.#clock.now();
  }

  every(ms: number, work: () => void): () => void {
    return this.#clock.every(ms, work);
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    if (ms !== 5_000) return this.#clock.sleep(ms, signal);
    return new Promise((resolve, reject) => {
      this.#wake = resolve;
      const onAbort = () => reject(signal?.reason);
      if (signal?.aborted) onAbort();
      else signal?.addEventListener('abort', onAbort, { once: true });
    });
  }

  async nextRound(): Promise<void> {
    await vi.waitUntil(() => this.#wake !== undefined, { timeout: 10_000, interval: 1 });
    this.#wake?.();
    this.#wake = undefined;
  }
}

describe('the loop', () => {
  let clock: LoopClock;
  beforeEach(() => {
    clock = new LoopClock(core.clock);
    reaper = reaperOf({ ...core.deps, clock });
  });
  afterEach(() => reaper.stop());

  const untilClaimed = (times: number) => vi.waitUntil(() => claimsMade() === times, { timeout: 10_000, interval: 1 });
  const untilState = async (upload: Upload, state: string) => {
    await vi.waitUntil(async () => (await core.find(upload)).state === state, { timeout: 10_000, interval: 5 });
  };

  /** The store keeps the aborts of these uploads waiting. */
  function holdAborts(...uploads: readonly Upload[]) {
    const held = new Set(uploads.map(({ storeUploadId }) => storeUploadId));
    const { promise: released, resolve: release } = Promise.withResolvers<void>();
    let waiting = 0;
    core.store.always('abortMultipartUpload', async (proceed, { storeUploadId }) => {
      if (held.has(storeUploadId)) {
        waiting++;
        await released;
      }
      return proceed();
    });
    const untilWaiting = (count: number) => vi.waitUntil(() => waiting === count, { timeout: 10_000, interval: 1 });
    return { release, untilWaiting };
  }

  it('goes on after a round that failed', async () => {
    const upload = await leftAborting();
    core.records.next('claimDue', async () => {
      throw recordsGone();
    });
    reaper.start();
    await clock.nextRound();
    await untilState(upload, 'aborted');
    expect(faults).toMatchObject([{ error: { code: 'records_unavailable' } }]);
  });

  it('is one, however often it is started', async () => {
    reaper.start();
    reaper.start();
    await clock.nextRound();
    await untilClaimed(2);
    await reaper.stop();
    expect(claimsMade()).toBe(2);
  });

  it('begins a round while the store keeps the one before waiting', async () => {
    const slow = await leftAborting();
    const { release, untilWaiting } = holdAborts(slow);
    reaper.start();
    await untilWaiting(1);
    const next = await leftAborting();
    await clock.nextRound();
    await untilState(next, 'aborted');
    expect((await core.find(slow)).state).toBe('aborting');
    release();
    await untilState(slow, 'aborted');
  });

  it('stops after the work under way, and claims nothing more', async () => {
    const left = await Promise.all([...Array(21).keys()].map(() => leftAborting()));
    const { release, untilWaiting } = holdAborts(...left);
    reaper.start();
    await untilWaiting(20);
    let isStopped = false;
    const stopped = reaper.stop().then(() => {
      isStopped = true;
    });
    await core.deps.records.check();
    expect(isStopped).toBe(false);
    release();
    await stopped;
    const states = await Promise.all(left.map(async (upload) => (await core.find(upload)).state));
    expect(states.filter((state) => state === 'aborted')).toHaveLength(20);
    expect(states.filter((state) => state === 'aborting')).toHaveLength(1);
    expect(claimsMade()).toBe(1);
  });

  it('stops where it was never started', async () => {
    await reaper.stop();
    expect(core.records.calls).toEqual([]);
  });
});

describe('an upload of others', () => {
  it('is put together without a round that waits for the store to copy', async () => {
    const content = randomBytes(2000);
    const source = await core.create({ sizeBytes: content.length, partSizeBytes: 8192, isPartial: true });
    await core.put(source, 1, content);
    await core.complete(source);
    const left = await core.create({
      sizeBytes: content.length,
      layout: 'free',
      partSizeBytes: undefined,
      isSelfCompleting: true,
      sources: [source.id],
    });
    await core.db.query("update uploads set work_due = now() - interval '1 second' where id = $1", [left.id]);
    const copied = Promise.withResolvers<void>();
    core.store.always('copyPart', async (proceed) => {
      await copied.promise;
      return proceed();
    });
    await reaper.round();
    await reaper.round();
    expect((await core.find(left)).state).toBe('open');
    copied.resolve();
    await core.deps.joins.whenIdle();
    expect((await core.find(left)).state).toBe('completed');
    expect((await core.objectOf(left))?.equals(content)).toBe(true);
    expect({ faults, bugs }).toEqual({ faults: [], bugs: [] });
  });
});
