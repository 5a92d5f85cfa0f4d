import { createHash, randomBytes } from 'node:crypto';
import { PassThrough, Readable } from 'node:stream';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { missingRanges } from '../../src/core/missing-ranges.ts';
import { StoreError } from '../../src/core/object-store.ts';
import type { Upload } from '../../src/core/upload.ts';
import { type WriteRangeInput, writeRange } from '../../src/core/write-range.ts';
import { CoreUnderTest, failureOf, principal } from './core-under-test.ts';

const slotBytes = 4096;
const content = randomBytes(3 * slotBytes + 1000);
let core: CoreUnderTest;
let upload: Upload;

beforeAll(async () => {
  core = await CoreUnderTest.open();
});
afterAll(() => core[Symbol.asyncDispose]());
beforeEach(async () => {
  upload = await core.create({
    protocol: 'content-range',
    isSelfCompleting: true,
    sizeBytes: content.length,
    partSizeBytes: slotBytes,
  });
  core.reset();
});

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('base64');
}

async function write(from: number, to: number, input: Partial<WriteRangeInput> = {}): Promise<Upload> {
  const bytes = content.subarray(from, to);
  return writeRange(core.deps, {
    principal,
    upload: await core.find(upload),
    offset: from,
    sizeBytes: bytes.length,
    mode: 'anywhere',
    completes: true,
    digests: { 'sha-256': sha256(bytes) },
    body: () => Readable.from([Buffer.from(bytes)], { objectMode: false }),
    ...input,
  });
}

const wrong = { digests: { 'sha-256': sha256(Buffer.from('other bytes')) } };

async function missing(): Promise<readonly (readonly [number, number | undefined])[]> {
  const ranges = await missingRanges(core.deps, await core.find(upload), { limit: 100 });
  return ranges.map(({ from, to }) => [from, to] as const);
}

async function expectObject(): Promise<void> {
  expect((await core.find(upload)).state).toBe('completed');
  expect((await core.objectOf(upload))?.equals(content)).toBe(true);
}

test.each([
  ['a piece of a slot', 100, 900],
  ['a whole slot', slotBytes, 2 * slotBytes],
  ['several slots', 100, 3 * slotBytes + 10],
])('true ones of %s: it counts', async (_, from, to) => {
  await write(from, to);
  expect(await missing()).toEqual([
    [0, from],
    [to, content.length],
  ]);
  await write(0, content.length);
  await expectObject();
});

test.each([
  ['a piece of a slot', 100, 900],
  ['a whole slot', slotBytes, 2 * slotBytes],
])('a wrong one of %s: the store never has it', async (_, from, to) => {
  expect(await failureOf(write(from, to, wrong))).toMatchObject({ code: 'digest_mismatch' });
  expect(core.store.calls.filter((call) => call === 'putObject')).toEqual([]);
  const { bucket, storeKey: key, storeUploadId = '' } = await core.find(upload);
  expect(await Array.fromAsync(core.deps.store.listParts({ bucket, key, storeUploadId }))).toEqual([]);
  expect(await missing()).toEqual([[0, content.length]]);
  await write(0, content.length);
  await expectObject();
});

test('a wrong one of several slots: nothing counts, whatever the store has', async () => {
  expect(await failureOf(write(100, 3 * slotBytes + 10, wrong))).toMatchObject({ code: 'digest_mismatch' });
  expect(core.store.calls).toContain('uploadPart');
  expect(await missing()).toEqual([[0, content.length]]);
  await write(0, content.length);
  await expectObject();
});

test('a wrong one of a body of unknown length: nothing counts', async () => {
  const sent = { sizeBytes: undefined, totalBytes: content.length };
  expect(await failureOf(write(0, content.length, { ...sent, ...wrong }))).toMatchObject({ code: 'digest_mismatch' });
  expect(await missing()).toEqual([[0, content.length]]);
  await write(0, content.length, sent);
  await expectObject();
});

test('a body that fills several gaps counts as a whole', async () => {
  for (const [from, to] of [
    [500, 700],
    [5000, 6000],
    [7000, 7100],
  ] as const) {
    await write(from, to);
  }
  expect(await failureOf(write(0, content.length, wrong))).toMatchObject({ code: 'digest_mismatch' });
  expect(await missing()).toHaveLength(4);
  await write(0, content.length);
  await expectObject();
});

test.each([1000, slotBytes + 1000])('a body that breaks off after %i bytes leaves nothing', async (cutAfter) => {
  const body = new PassThrough();
  body.write(content.subarray(0, cutAfter));
  const breaksOff = () => {
    setImmediate(() => body.destroy(new Error('cut')));
    return body;
  };
  await expect(write(0, content.length, { body: breaksOff })).rejects.toThrow();
  expect(await missing()).toEqual([[0, content.length]]);
  await write(0, content.length);
  await expectObject();
});

test.each([
  ['a piece', 100, 900],
  ['a slot', 0, slotBytes],
  ['several slots', 100, content.length],
])('%s that was garbled on its way says nothing of what is stored', async (_, from, to) => {
  await write(0, 3000);
  const garbled = Buffer.from(content.subarray(from, to));
  garbled[200] = ~garbled[200]!;
  const body = () => Readable.from([Buffer.from(garbled)], { objectMode: false });
  expect(await failureOf(write(from, to, { body }))).toMatchObject({ code: 'digest_mismatch' });
  expect((await core.find(upload)).isConflicted).toBe(false);
  // Bytes that are what their client states are other bytes.
  const differs = await failureOf(write(from, to, { body, digests: { 'sha-256': sha256(garbled) } }));
  expect(differs.details).toMatchObject({ conflict: 'differs', uploadId: upload.id });
  expect((await core.find(upload)).isConflicted).toBe(true);
});

test('a slot that fails for good does not leave the next one waiting for them', async () => {
  core.store.next('uploadPart', async () => {
    throw new StoreError('full', 'injected');
  });
  expect(await failureOf(write(0, content.length))).toMatchObject({ code: 'store_full' });
  const { rows } = await core.db.query('select 1 from parts where upload_id = $1 and attempt_id is not null', [
    upload.id,
  ]);
  expect(rows).toEqual([]);
  expect(core.clock.runningTimers).toBe(0);
  await write(0, content.length);
  await expectObject();
});

test('a line that breaks does not make its upload a careful one', async () => {
  const body = new PassThrough();
  body.write(content.subarray(0, 1000));
  const breaksOff = () => {
    setImmediate(() => body.destroy(new Error('cut')));
    return body;
  };
  await expect(write(0, content.length, { body: breaksOff })).rejects.toThrow();
  expect((await core.find(upload)).carefulFragmentBytes).toBeUndefined();
});

test('an append of several slots counts in its order, or not at all', async () => {
  const appended = { mode: 'append' } as const;
  await write(0, 5000, appended);
  expect(await failureOf(write(5000, content.length, { ...appended, ...wrong }))).toMatchObject({
    code: 'digest_mismatch',
  });
  expect((await core.find(upload)).offset).toBe(5000);
  await write(5000, content.length, appended);
  await expectObject();
});

test('what waits for them is not held in memory', async () => {
  const deps = core.elsewhere(1_000_000);
  let mostHeld = 0;
  core.store.always('uploadPart', async (proceed) => {
    mostHeld = Math.max(mostHeld, deps.memory.usedBytes);
    return proceed();
  });
  const bytes = content.subarray(0, 3 * slotBytes);
  await writeRange(deps, {
    principal,
    upload: await core.find(upload),
    offset: 0,
    sizeBytes: bytes.length,
    mode: 'anywhere',
    completes: true,
    digests: { 'sha-256': sha256(bytes) },
    body: () => Readable.from([Buffer.from(bytes)], { objectMode: false }),
  });
  expect(mostHeld).toBeLessThanOrEqual(2 * slotBytes);
  expect(deps.memory.usedBytes).toBe(0);
});
