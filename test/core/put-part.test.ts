import { randomBytes } from 'node:crypto';
import { PassThrough, Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { abortUpload } from '../../src/core/abort.ts';
import type { Deps } from '../../src/core/deps.ts';
import type { Digests } from '../../src/core/digest.ts';
import { ClientGoneError, UploadError } from '../../src/core/errors.ts';
import { StoreError, type StoreErrorKind } from '../../src/core/object-store.ts';
import { putPart } from '../../src/core/put-part.ts';
import type { Part, Upload } from '../../src/core/upload.ts';
import { CoreUnderTest, codeOf, crc32Of, failureOf, principal } from './core-under-test.ts';

let core: CoreUnderTest;
beforeAll(async () => {
  core = await CoreUnderTest.open();
});
afterAll(() => core[Symbol.asyncDispose]());
afterEach(() => core.reset());

const noAnswer = () => new StoreError('unavailable', 'the line was cut');
const recordsGone = () => new UploadError('records_unavailable', 'gone');

interface Sending {
  readonly sizeBytes: number;
  readonly digests?: Digests;
  readonly partNumber?: number;
  readonly deps?: Deps;
}

function putFrom(upload: Upload, body: Readable, sending: Sending): Promise<Part> {
  const { deps = core.deps, partNumber = 1, sizeBytes, digests = {} } = sending;
  const work = putPart(deps, { principal, uploadId: upload.id, partNumber, sizeBytes, digests, body: () => body });
  work.catch(() => undefined);
  return work;
}

function putElsewhere(upload: Upload, content: Buffer, deps = core.elsewhere()): Promise<Part> {
  return putFrom(upload, Readable.from([content], { objectMode: false }), { sizeBytes: content.length, deps });
}

/** A part whose client has sent the half of it and waits; `call` is what the store was asked. */
async function sendHalf(upload: Upload, content: Buffer, sending: Partial<Sending> = {}) {
  const body = new PassThrough();
  const call = nextUpload();
  const half = Math.floor(content.length / 2);
  const listeners = listenersOf(body);
  const answer = putFrom(upload, body, { sizeBytes: content.length, ...sending });
  body.write(content.subarray(0, half));
  const { signal } = await Promise.race([call, answer.then(() => call)]);
  return { body, answer, signal, listeners, sendRest: () => body.end(content.subarray(half)) };
}

function nextUpload(): Promise<{ signal: AbortSignal }> {
  const { promise, resolve } = Promise.withResolvers<{ signal: AbortSignal }>();
  core.store.next('uploadPart', (proceed, _input, options) => {
    resolve({ signal: options!.signal! });
    return proceed();
  });
  return promise;
}

function listenersOf(body: Readable): Record<string, number> {
  return Object.fromEntries(
    ['data', 'end', 'close', 'pause', 'resume'].map((name) => [name, body.listenerCount(name)]),
  );
}

/** The store reads the next part to its end and then waits to be told what becomes of it. */
function holdAtStore() {
  const whole = Promise.withResolvers<void>();
  const verdict = Promise.withResolvers<'store' | Error>();
  const landed = Promise.withResolvers<() => Promise<unknown>>();
  core.store.next('uploadPart', async (_proceed, input) => {
    const content = input.body instanceof Readable ? await buffer(input.body) : input.body;
    const land = () => core.deps.store.uploadPart({ ...input, body: content });
    landed.resolve(land);
    whole.resolve();
    const outcome = await verdict.promise;
    if (outcome === 'store') return land();
    throw outcome;
  });
  return {
    hasWhole: whole.promise,
    store: () => verdict.resolve('store'),
    fail: (error: Error) => verdict.resolve(error),
    /** What was sent arrives, however late. */
    land: async () => (await landed.promise)(),
  };
}

/** The store takes the whole of the next part, and its answer is lost. */
function loseNextAnswer(error: Error = noAnswer()) {
  const held = holdAtStore();
  held.fail(error);
  return held;
}

async function expectCompleted(upload: Upload, content: Buffer): Promise<void> {
  expect(await core.complete(upload)).toMatchObject({ kind: 'completed' });
  expect((await core.objectOf(upload))?.equals(content)).toBe(true);
}

async function expireLease(upload: Upload): Promise<void> {
  await core.db.query("update parts set attempt_until = now() - interval '1 second' where upload_id = $1", [upload.id]);
}

/** Whether the upload compares the store's list before it completes. */
async function isDoubtful(upload: Upload): Promise<boolean> {
  const { rows } = await core.db.query('select bool_or(doubtful) as doubtful from parts where upload_id = $1', [
    upload.id,
  ]);
  return rows[0].doubtful === true;
}

async function hasLease(upload: Upload): Promise<boolean> {
  const { rowCount } = await core.db.query('select from parts where upload_id = $1 and attempt_id is not null', [
    upload.id,
  ]);
  return rowCount === 1;
}

describe('a part whose answer was lost after its last byte', () => {
  it("is not acknowledged, and the store's list is compared before the upload completes", async () => {
    const content = randomBytes(100);
    const upload = await core.create({ sizeBytes: content.length });
    const cut = loseNextAnswer();
    expect(await codeOf(core.put(upload, 1, content))).toBe('store_unavailable');
    expect(await core.find(upload)).toMatchObject({ state: 'open', receivedBytes: 0 });
    expect(await hasLease(upload)).toBe(false);
    await cut.land();
    await core.put(upload, 1, content);
    core.store.calls.length = 0;
    await expectCompleted(upload, content);
    expect(core.store.calls.slice(0, 2)).toEqual(['listParts', 'completeMultipartUpload']);
  });

  it('is wanted again when it lands over the part that was sent after it', async () => {
    const [late, content] = [randomBytes(100), randomBytes(100)];
    const upload = await core.create({ sizeBytes: content.length });
    const cut = loseNextAnswer();
    await failureOf(core.put(upload, 1, late));
    await core.put(upload, 1, content);
    await cut.land();
    core.store.calls.length = 0;
    const failure = await failureOf(core.complete(upload));
    expect(failure).toMatchObject({
      code: 'incomplete',
      details: { missing: [{ partNumber: 1, offset: 0, size: 100 }] },
    });
    expect(core.store.calls).not.toContain('completeMultipartUpload');
    await core.put(upload, 1, content);
    await expectCompleted(upload, content);
  });

  it('leaves the part that was stored before on record, to be compared', async () => {
    const [content, late] = [randomBytes(100), randomBytes(100)];
    const upload = await core.create({ sizeBytes: content.length });
    const part = await core.put(upload, 1, content);
    const cut = loseNextAnswer();
    await failureOf(core.put(upload, 1, late));
    expect(await core.findPart(upload, 1)).toEqual({ ...part, isDoubtful: true });
    await cut.land();
    expect(await codeOf(core.complete(upload))).toBe('incomplete');
    expect(await core.objectOf(upload)).toBeUndefined();
  });

  it.each<StoreErrorKind>(['refused', 'full', 'digest_mismatch'])(
    'is not in doubt where the store said %s',
    async (kind) => {
      const content = randomBytes(100);
      const upload = await core.create({ sizeBytes: content.length });
      loseNextAnswer(new StoreError(kind, 'no'));
      await failureOf(core.put(upload, 1, content));
      expect(await isDoubtful(upload)).toBe(false);
      await core.put(upload, 1, content);
      await expectCompleted(upload, content);
      expect(core.store.calls).not.toContain('listParts');
    },
  );

  it('is not in doubt where the line was cut before the last byte', async () => {
    const content = randomBytes(100);
    const upload = await core.create({ sizeBytes: content.length });
    core.store.next('uploadPart', async () => {
      throw noAnswer();
    });
    expect(await codeOf(putFrom(upload, new PassThrough(), { sizeBytes: 100 }))).toBe('store_unavailable');
    expect(await isDoubtful(upload)).toBe(false);
    expect(await hasLease(upload)).toBe(false);
  });

  it('is in doubt when the gateway is told to end while the store confirms', async () => {
    const upload = await core.create({ sizeBytes: 100 });
    const held = holdAtStore();
    const deps = core.elsewhere();
    const answer = putElsewhere(upload, randomBytes(100), deps);
    await held.hasWhole;
    deps.attempts.stopAll(new UploadError('overloaded', 'the gateway ends'));
    expect(await codeOf(answer)).toBe('overloaded');
    await deps.attempts.whenEnded();
    expect(await isDoubtful(upload)).toBe(true);
    held.fail(noAnswer());
  });
});

describe('a part that the store has and the records fail to note', () => {
  it('is answered as passing, and is sent again', async () => {
    const content = randomBytes(100);
    const upload = await core.create({ sizeBytes: content.length });
    core.records.next('commitPart', async () => {
      throw recordsGone();
    });
    expect(await codeOf(core.put(upload, 1, content))).toBe('records_unavailable');
    expect((await core.find(upload)).receivedBytes).toBe(0);
    expect(await isDoubtful(upload)).toBe(true);
    await core.put(upload, 1, content);
    await expectCompleted(upload, content);
  });

  it('is sent again also where only the answer of the records was lost', async () => {
    const content = randomBytes(100);
    const upload = await core.create({ sizeBytes: content.length });
    core.records.next('commitPart', async (proceed) => {
      await proceed();
      throw recordsGone();
    });
    expect(await codeOf(core.put(upload, 1, content))).toBe('records_unavailable');
    await core.put(upload, 1, content);
    expect((await core.find(upload)).receivedBytes).toBe(content.length);
    await expectCompleted(upload, content);
  });

  it.each([
    ['is sent again here', async () => undefined],
    ['keeps its lease elsewhere until that runs out', keepsLeaseElsewhere],
  ])('where the records are gone for longer, %s, and is in doubt', async (_what, expectLease) => {
    const content = randomBytes(100);
    const upload = await core.create({ sizeBytes: content.length });
    for (const name of ['commitPart', 'dropAttempt'] as const) {
      core.records.next(name, async () => {
        throw recordsGone();
      });
    }
    expect(await codeOf(core.put(upload, 1, content))).toBe('records_unavailable');
    await expectLease(upload, content);
    await core.put(upload, 1, content);
    expect(await isDoubtful(upload)).toBe(true);
    await expectCompleted(upload, content);
  });

  async function keepsLeaseElsewhere(upload: Upload, content: Buffer): Promise<void> {
    expect(await codeOf(putElsewhere(upload, content))).toBe('busy');
    await expireLease(upload);
  }
});

describe('an attempt whose last byte is on its way', () => {
  it.each(['here', 'elsewhere'])('yields to no newer request %s', async (where) => {
    const [older, newer] = [randomBytes(100), randomBytes(100)];
    const upload = await core.create({ sizeBytes: 100 });
    const held = holdAtStore();
    const first = core.put(upload, 1, older);
    await held.hasWhole;
    const second = where === 'here' ? core.put(upload, 1, newer) : putElsewhere(upload, newer);
    const refusal = await failureOf(second);
    expect(refusal.code).toBe('busy');
    expect(refusal.retryAfterSeconds).toBeGreaterThanOrEqual(1);
    held.store();
    const part = await first;
    expect(await core.findPart(upload, 1)).toEqual(part);
    await expectCompleted(upload, older);
  });

  it('yields to no news, and to no completion', async () => {
    const content = randomBytes(100);
    const upload = await core.create({ sizeBytes: 100 });
    await core.put(upload, 1, content);
    const held = holdAtStore();
    const again = core.put(upload, 1, content);
    await held.hasWhole;
    const { rows } = await core.db.query('select attempt_id from parts where upload_id = $1', [upload.id]);
    core.deps.attempts.yield(rows[0].attempt_id);
    expect(await codeOf(core.complete(upload))).toBe('busy');
    held.store();
    await again;
    await expectCompleted(upload, content);
  });
});

describe('an older attempt that has bytes to come', () => {
  it('is displaced by a newer one, and its call to the store ended', async () => {
    const [older, newer] = [randomBytes(1000), randomBytes(1000)];
    const upload = await core.create({ sizeBytes: older.length });
    const hanging = await sendHalf(upload, older);
    await core.put(upload, 1, newer);
    const refusal = await failureOf(hanging.answer);
    expect(refusal).toMatchObject({ code: 'busy', retryAfterSeconds: 1 });
    expect(hanging.signal.aborted).toBe(true);
    expect(listenersOf(hanging.body)).toEqual(hanging.listeners);
    await expectCompleted(upload, newer);
    expect(core.store.calls).not.toContain('listParts');
  });

  it('is displaced from another process, at its next renewal', async () => {
    const [older, newer] = [randomBytes(1000), randomBytes(1000)];
    const upload = await core.create({ sizeBytes: older.length });
    const hanging = await sendHalf(upload, older);
    core.records.next('askToYield', async (proceed) => {
      await proceed();
      core.clock.advance(core.deps.settings.leaseMs / 3);
      await hanging.answer.catch(() => undefined);
    });
    await putElsewhere(upload, newer);
    expect(await codeOf(hanging.answer)).toBe('busy');
    await expectCompleted(upload, newer);
  });

  it('stays undisturbed by a newer one that is refused', async () => {
    const content = randomBytes(1000);
    const upload = await core.create({ sizeBytes: content.length });
    const hanging = await sendHalf(upload, content);
    expect(await codeOf(core.put(upload, 1, randomBytes(3)))).toBe('part_size_mismatch');
    hanging.sendRest();
    await hanging.answer;
    await expectCompleted(upload, content);
  });
});

describe('the lease of an attempt', () => {
  const failRenewals = () =>
    core.records.always('renewAttempt', async () => {
      throw recordsGone();
    });

  it('that may have run out never lets the last byte go', async () => {
    const content = randomBytes(100);
    const upload = await core.create({ sizeBytes: content.length });
    failRenewals();
    const hanging = await sendHalf(upload, content);
    core.clock.advance(core.deps.settings.leaseMs);
    hanging.sendRest();
    expect(await codeOf(hanging.answer)).toBe('records_unavailable');
    expect(hanging.signal.aborted).toBe(true);
    expect(await Array.fromAsync(core.deps.store.listParts(addressOf(upload)))).toEqual([]);
    expect(await isDoubtful(upload)).toBe(false);
  });

  it('lets it go to its last moment', async () => {
    const content = randomBytes(100);
    const upload = await core.create({ sizeBytes: content.length });
    failRenewals();
    const hanging = await sendHalf(upload, content);
    core.clock.advance(core.deps.settings.leaseMs - 1);
    hanging.sendRest();
    await hanging.answer;
    await expectCompleted(upload, content);
  });

  it('counts from before the records were asked', async () => {
    const content = randomBytes(100);
    const upload = await core.create({ sizeBytes: content.length });
    failRenewals();
    core.records.next('beginAttempt', async (proceed) => {
      const begun = await proceed();
      core.clock.advance(core.deps.settings.leaseMs);
      return begun;
    });
    expect(await codeOf(core.put(upload, 1, content))).toBe('records_unavailable');
    expect(await Array.fromAsync(core.deps.store.listParts(addressOf(upload)))).toEqual([]);
  });

  it('is renewed for as long as the client sends', async () => {
    const content = randomBytes(100);
    const upload = await core.create({ sizeBytes: content.length });
    const hanging = await sendHalf(upload, content);
    for (let sent = 50; sent < 99; sent += 7) {
      const renewed = Promise.withResolvers<void>();
      core.records.next('renewAttempt', async (proceed) => {
        const lease = await proceed();
        setImmediate(renewed.resolve);
        return lease;
      });
      hanging.body.write(content.subarray(sent, Math.min(sent + 7, 99)));
      await vi.waitUntil(() => hanging.body.readableLength === 0, { interval: 1 });
      core.clock.advance(core.deps.settings.leaseMs / 3);
      await renewed.promise;
    }
    hanging.body.end(content.subarray(99));
    await hanging.answer;
    expect(core.clock.runningTimers).toBe(0);
    await expectCompleted(upload, content);
  });
});

describe('an upload that ends while a part is sent', () => {
  it('by an abort is gone for the sender, at the next renewal', async () => {
    const upload = await core.create({ sizeBytes: 1000 });
    const hanging = await sendHalf(upload, randomBytes(1000));
    await abortUpload(core.deps, principal, upload.id);
    core.clock.advance(core.deps.settings.leaseMs / 3);
    expect(await failureOf(hanging.answer)).toMatchObject({ code: 'upload_gone', details: { reason: 'requested' } });
    expect(hanging.signal.aborted).toBe(true);
    expect(listenersOf(hanging.body)).toEqual(hanging.listeners);
    expect((await core.find(upload)).state).toBe('aborted');
  });

  it('by an abort is gone for the sender whose part the store already has', async () => {
    const upload = await core.create({ sizeBytes: 100 });
    core.records.next('commitPart', async (proceed) => {
      await abortUpload(core.elsewhere(), principal, upload.id);
      return proceed();
    });
    expect(await codeOf(core.put(upload, 1, randomBytes(100)))).toBe('upload_gone');
    expect(core.eventsOf('part_stored')).toEqual([]);
  });

  it('at the store is lost, once, and 410 from then on', async () => {
    const upload = await core.create({ sizeBytes: 100 });
    await core.deps.store.abortMultipartUpload(addressOf(upload));
    const gone = { code: 'upload_gone', details: { reason: 'lost' } };
    expect(await failureOf(core.put(upload, 1, randomBytes(100)))).toMatchObject(gone);
    expect(await core.find(upload)).toMatchObject({ state: 'aborted', reason: 'lost' });
    expect(core.eventsOf('upload_aborted')).toHaveLength(1);
    core.store.calls.length = 0;
    expect(await failureOf(core.put(upload, 1, randomBytes(100)))).toMatchObject(gone);
    expect(core.store.calls).toEqual([]);
  });

  it('at the store is not called lost while the records are away', async () => {
    const upload = await core.create({ sizeBytes: 100 });
    await core.deps.store.abortMultipartUpload(addressOf(upload));
    core.records.next('claimAbort', async () => {
      throw recordsGone();
    });
    expect(await codeOf(core.put(upload, 1, randomBytes(100)))).toBe('records_unavailable');
    expect((await core.find(upload)).state).toBe('open');
    expect(await codeOf(core.put(upload, 1, randomBytes(100)))).toBe('upload_gone');
  });

  it('by its completion is not called lost', async () => {
    const content = randomBytes(100);
    const upload = await core.create({ sizeBytes: content.length });
    await core.put(upload, 1, content);
    const held = holdAtStore();
    const late = core.put(upload, 1, content);
    await held.hasWhole;
    await expireLease(upload);
    await expectCompleted(upload, content);
    held.store();
    expect(await failureOf(late)).toMatchObject({ code: 'state_conflict', details: { uploadState: 'completed' } });
    expect(await core.find(upload)).toMatchObject({ state: 'completed', receivedBytes: 100 });
  });
});

describe("the client's body", () => {
  it('that breaks off ends the call to the store and frees the slot', async () => {
    const content = randomBytes(1000);
    const upload = await core.create({ sizeBytes: content.length });
    const cut = await sendHalf(upload, content);
    cut.body.destroy();
    await expect(cut.answer).rejects.toBeInstanceOf(ClientGoneError);
    expect(cut.signal.aborted).toBe(true);
    expect(listenersOf(cut.body)).toEqual(cut.listeners);
    expect(core.clock.runningTimers).toBe(0);
    expect(await hasLease(upload)).toBe(false);
    await core.put(upload, 1, content);
    await expectCompleted(upload, content);
    expect(core.store.calls).not.toContain('listParts');
  });

  it('that was broken before it was wanted stores nothing', async () => {
    const upload = await core.create({ sizeBytes: 100 });
    const body = new PassThrough();
    body.destroy();
    await expect(putFrom(upload, body, { sizeBytes: 100 })).rejects.toBeInstanceOf(ClientGoneError);
    expect(await hasLease(upload)).toBe(false);
  });

  it('may break once more after the part was refused', async () => {
    const upload = await core.create({ sizeBytes: 100 });
    core.store.next('uploadPart', async () => {
      throw noAnswer();
    });
    const body = new PassThrough();
    expect(await codeOf(putFrom(upload, body, { sizeBytes: 100 }))).toBe('store_unavailable');
    const closed = new Promise((resolve) => body.once('close', resolve));
    body.destroy(new Error('reset'));
    await closed;
  });

  it('that stalls is given up', async () => {
    const upload = await core.create({ sizeBytes: 1000 });
    const stalled = await sendHalf(upload, randomBytes(1000));
    await vi.waitUntil(() => stalled.body.readableLength === 0, { interval: 1 });
    const { bodyIdleMs } = core.deps.settings;
    core.clock.advance(bodyIdleMs / 4);
    core.clock.advance(bodyIdleMs);
    expect(await codeOf(stalled.answer)).toBe('body_timeout');
    expect(stalled.signal.aborted).toBe(true);
    expect(await hasLease(upload)).toBe(false);
  });

  it('that waits for a slow store is not given up', async () => {
    const content = randomBytes(1024 ** 2);
    const upload = await core.create({ sizeBytes: content.length, partSizeBytes: content.length });
    const { promise: goOn, resolve } = Promise.withResolvers<void>();
    const { promise: called, resolve: isCalled } = Promise.withResolvers<Readable>();
    core.store.next('uploadPart', async (proceed, input) => {
      isCalled(input.body as Readable);
      await goOn;
      return proceed();
    });
    // Each renewal in time, so that nothing but the stall can end it.
    core.records.always('renewAttempt', async () => 'held' as const);
    const body = new PassThrough();
    const answer = putFrom(upload, body, { sizeBytes: content.length });
    body.end(content.subarray());
    const atStore = await called;
    await vi.waitUntil(() => atStore.readableLength > 0 || body.readableEnded, { interval: 1 });
    for (let step = 0; step < 12; step++) {
      core.clock.advance(core.deps.settings.bodyIdleMs / 4);
      await new Promise(setImmediate);
    }
    resolve();
    await answer;
    await expectCompleted(upload, content);
  });

  it.each([
    ['shorter', 99],
    ['longer', 101],
  ])('%s than announced stores nothing', async (_, length) => {
    const upload = await core.create({ sizeBytes: 100 });
    const body = Readable.from([randomBytes(length)], { objectMode: false });
    expect(await codeOf(putFrom(upload, body, { sizeBytes: 100 }))).toBe('invalid_request');
    expect(await Array.fromAsync(core.deps.store.listParts(addressOf(upload)))).toEqual([]);
    expect(await isDoubtful(upload)).toBe(false);
  });

  it('is not asked for when the part is refused', async () => {
    const upload = await core.create({ sizeBytes: 100 });
    const body = vi.fn<() => Readable>();
    const input = { principal, uploadId: upload.id, digests: {}, body };
    expect(await codeOf(putPart(core.deps, { ...input, partNumber: 1, sizeBytes: 99 }))).toBe('part_size_mismatch');
    expect(await codeOf(putPart(core.deps, { ...input, partNumber: 2, sizeBytes: 1 }))).toBe('limit_exceeded');
    expect(await codeOf(putPart(core.deps, { ...input, partNumber: 0, sizeBytes: 1 }))).toBe('limit_exceeded');
    expect(await codeOf(putPart(core.deps, { ...input, uploadId: 'x', partNumber: 1, sizeBytes: 1 }))).toBe(
      'upload_not_found',
    );
    expect(body).not.toHaveBeenCalled();
    expect(await hasLease(upload)).toBe(false);
  });
});

describe('a part whose digest is stated', () => {
  it('and wrong leaves the part before as it was, and costs the store nothing', async () => {
    const content = randomBytes(100);
    const upload = await core.create({ sizeBytes: content.length });
    await core.put(upload, 1, content);
    const other = randomBytes(100);
    expect(await codeOf(core.put(upload, 1, other, { crc32: crc32Of(content) }))).toBe('digest_mismatch');
    expect(await isDoubtful(upload)).toBe(false);
    await expectCompleted(upload, content);
  });

  it('and known is acknowledged again without a call to the store', async () => {
    const content = randomBytes(100);
    const upload = await core.create({ sizeBytes: content.length });
    const part = await core.put(upload, 1, content, { crc32: crc32Of(content) });
    core.store.calls.length = 0;
    expect(await core.put(upload, 1, content, { crc32: crc32Of(content) })).toEqual(part);
    expect(core.store.calls).toEqual([]);
    expect(await hasLease(upload)).toBe(false);
    await expectCompleted(upload, content);
  });

  it('and known is not acknowledged again once it was taken out of the record', async () => {
    const content = randomBytes(100);
    const upload = await core.create({ sizeBytes: content.length });
    const digests = { crc32: crc32Of(content) };
    await core.put(upload, 1, content, digests);
    const body = new PassThrough();
    const again = putFrom(upload, body, { sizeBytes: content.length, digests });
    body.write(content.subarray(0, 50));
    await vi.waitUntil(() => body.listenerCount('data') > 0, { interval: 1 });
    await expireLease(upload);
    await core.deps.store.uploadPart({ ...addressOf(upload), partNumber: 1, body: randomBytes(100), sizeBytes: 100 });
    expect(await codeOf(core.complete(upload))).toBe('incomplete');
    body.end(content.subarray(50));
    expect(await codeOf(again)).toBe('busy');
    await core.put(upload, 1, content, digests);
    await expectCompleted(upload, content);
  });

  it('and known holds the body to it even so', async () => {
    const content = randomBytes(100);
    const upload = await core.create({ sizeBytes: content.length });
    await core.put(upload, 1, content, { crc32: crc32Of(content) });
    const again = core.put(upload, 1, randomBytes(100), { crc32: crc32Of(content) });
    expect(await codeOf(again)).toBe('digest_mismatch');
    expect(await hasLease(upload)).toBe(false);
    await expectCompleted(upload, content);
  });
});

describe('a last part that fixes the size', () => {
  it('is refused before the store is called where later bytes are stored', async () => {
    const upload = await core.create();
    await core.put(upload, 2, randomBytes(core.partSizeBytes));
    core.store.calls.length = 0;
    expect(await codeOf(core.put(upload, 1, randomBytes(7)))).toBe('state_conflict');
    expect(core.store.calls).toEqual([]);
    expect(await hasLease(upload)).toBe(false);
  });

  it('is refused where another part fixed it otherwise meanwhile', async () => {
    const upload = await core.create();
    core.records.next('commitPart', async (proceed) => {
      await core.put(upload, 2, randomBytes(5));
      return proceed();
    });
    expect(await codeOf(core.put(upload, 1, randomBytes(7)))).toBe('state_conflict');
    expect(await core.find(upload)).toMatchObject({ sizeBytes: core.partSizeBytes + 5, receivedBytes: 5 });
  });
});

function addressOf(upload: Upload) {
  return { bucket: upload.bucket, key: upload.storeKey, storeUploadId: upload.storeUploadId! };
}
