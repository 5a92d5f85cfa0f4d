import { randomBytes } from 'node:crypto';
import { PassThrough } from 'node:stream';
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { askWriter } from '../../src/core/ask-writer.ts';
import type { Deps } from '../../src/core/deps.ts';
import { StoreError } from '../../src/core/object-store.ts';
import type { Upload } from '../../src/core/upload.ts';
import { type WriteRangeInput, writeRange } from '../../src/core/write-range.ts';
import { CoreUnderTest, principal } from './core-under-test.ts';

const slotBytes = 4096;
const content = randomBytes(4 * slotBytes);
let core: CoreUnderTest;
let upload: Upload;

beforeAll(async () => {
  core = await CoreUnderTest.open();
});
afterAll(() => core[Symbol.asyncDispose]());
beforeEach(async () => {
  core.reset();
  upload = await core.create({
    protocol: 'google',
    isSelfCompleting: true,
    sizeBytes: content.length,
    partSizeBytes: slotBytes,
  });
});

/** An append whose client can stop in the middle. */
async function append(from: number, usual: Deps, input: Partial<WriteRangeInput> = {}) {
  // Whoever asks lets time pass, and none of it is the client's.
  const deps = { ...usual, settings: { ...usual.settings, bodyIdleMs: Number.MAX_SAFE_INTEGER } };
  const body = new PassThrough({ highWaterMark: content.length });
  let at = from;
  const ended = writeRange(deps, {
    principal,
    upload: await core.find(upload),
    offset: from,
    sizeBytes: content.length - from,
    mode: 'append',
    completes: true,
    body: () => body,
    ...input,
  });
  ended.catch(() => undefined);
  return {
    ended,
    sendTo(to: number) {
      for (; at < to; at += 500) body.write(Buffer.from(content.subarray(at, Math.min(at + 500, to))));
      at = to;
    },
    finish() {
      this.sendTo(content.length);
      body.end();
      return ended;
    },
  };
}

/** Until what was sent has come as far as the writer. */
function askUntil(deps: Deps, offset: number): Promise<unknown> {
  return vi.waitUntil(async () => (await askWriter(deps, await core.find(upload))).offset === offset, {
    timeout: 20_000,
    interval: 5,
  });
}

async function expectObject(): Promise<void> {
  expect((await core.find(upload)).state).toBe('completed');
  expect((await core.objectOf(upload))?.equals(content)).toBe(true);
}

test.each([
  ['in a slot that is piped through', 0, {}],
  ['in a piece that is collected', 0, { sizeBytes: undefined }],
  ['in a body whose end is the end of the whole', 0, { sizeBytes: undefined, endsUpload: true }],
  ['behind the first bytes of a slot', 100, {}],
] as const)('a writer that hangs %s makes durable what it has, and goes on', async (_, from, input) => {
  if (from > 0) await (await append(0, core.deps, { sizeBytes: from, body: () => bodyOf(0, from) })).ended;
  const writer = await append(from, core.deps, input);
  for (const sentTo of [700, slotBytes + 1200, slotBytes + 1300, 3 * slotBytes]) {
    writer.sendTo(sentTo);
    // Of a slot that is whole the last buffer may be on its way yet.
    await askUntil(core.deps, sentTo);
  }
  expect((await writer.finish()).state).toBe('completed');
  await expectObject();
});

function bodyOf(from: number, to: number): PassThrough {
  const body = new PassThrough();
  body.end(Buffer.from(content.subarray(from, to)));
  return body;
}

test('of a writer whose bytes could not be held nothing is wanted, and nobody waits', async () => {
  const deps = core.elsewhere(0);
  const writer = await append(0, deps);
  writer.sendTo(1000);
  await vi.waitUntil(async () => (await core.find(upload)).writerId !== undefined, { timeout: 20_000, interval: 5 });
  expect((await askWriter(deps, await core.find(upload))).offset).toBe(0);
  expect((await writer.finish()).state).toBe('completed');
  await expectObject();
});

test('of an upload that nobody writes nobody is asked', async () => {
  core.reset();
  await askWriter(core.deps, await core.find(upload));
  expect(core.records.calls).toEqual(['find']);
});

test('a body that must be proven as a whole is not counted by it', async () => {
  const writer = await append(0, core.deps, { digests: { md5: 'AAAAAAAAAAAAAAAAAAAAAA==' } });
  writer.sendTo(1000);
  await vi.waitUntil(async () => (await core.find(upload)).writerId !== undefined, { timeout: 20_000, interval: 5 });
  expect((await askWriter(core.deps, await core.find(upload))).offset).toBe(0);
  await expect(writer.finish()).rejects.toMatchObject({ code: 'digest_mismatch' });
});

test('a checkpoint behind a slot that fails for good gives its memory back', async () => {
  const deps = core.elsewhere(1_000_000);
  const held = Promise.withResolvers<void>();
  core.store.next('uploadPart', async () => {
    await held.promise;
    throw new StoreError('full', 'injected');
  });
  const writer = await append(0, deps);
  writer.sendTo(slotBytes + 1000);
  await vi.waitUntil(() => deps.memory.usedBytes >= slotBytes + 1000, { timeout: 20_000, interval: 5 });
  const asked = askWriter(deps, await core.find(upload));
  held.resolve();
  await asked;
  writer.sendTo(content.length);
  await expect(writer.ended).rejects.toMatchObject({ code: 'store_full' });
  expect(deps.memory.usedBytes).toBe(0);
});
