import { randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import { setImmediate } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { LeftLeases } from '../../src/core/left-leases.ts';
import type { Upload } from '../../src/core/upload.ts';
import { type WriteRangeInput, writeRange } from '../../src/core/write-range.ts';
import { CoreUnderTest, principal } from './core-under-test.ts';
import { FakeClock } from './fake-clock.ts';

const slotBytes = 4096;
const file = randomBytes(2 * slotBytes);

let core: CoreUnderTest;
beforeAll(async () => {
  core = await CoreUnderTest.open();
});
afterAll(() => core[Symbol.asyncDispose]());
beforeEach(() => core.reset());

const create = () => core.create({ sizeBytes: file.length, partSizeBytes: slotBytes });

function write(upload: Upload, from: number, to: number, mode: WriteRangeInput['mode'] = 'anywhere'): Promise<Upload> {
  const body = () => Readable.from([Buffer.from(file.subarray(from, to))], { objectMode: false });
  return writeRange(core.deps, {
    ...{ principal, upload, offset: from, sizeBytes: to - from, mode, completes: false, body },
  });
}

async function whenGivenBack(): Promise<void> {
  core.clock.slept.length = 0;
  core.clock.advance(1_000);
  await expect.poll(() => core.clock.runningTimers).toBe(0);
}

/** The records do what is asked for, and are not heard. */
async function unheard(proceed: () => Promise<unknown>): Promise<never> {
  await proceed();
  throw new Error('the answer is lost');
}
function fail(...calls: ('dropFragment' | 'dropAttempt' | 'withdrawFragment' | 'endWriter' | 'releaseClaim')[]): void {
  for (const call of calls) {
    core.records.next(call, () => {
      throw new Error('the records do not answer');
    });
  }
}
function failStore(call: 'putObject' | 'uploadPart' | 'completeMultipartUpload'): void {
  core.store.next(call, () => {
    throw new Error('the store does what it never should');
  });
}

test.each([
  ['beginFragment', () => core.records.next('beginFragment', unheard)],
  ['commitFragment', () => core.records.next('commitFragment', unheard)],
])('a range is not waited for whose %s was not heard', async (_call, interrupt) => {
  const upload = await create();
  interrupt();
  fail('dropFragment');
  await expect(write(upload, 0, 1000)).rejects.toThrow();
  await whenGivenBack();
  expect(await write(upload, 0, 1000)).toMatchObject({ receivedBytes: 1000 });
  expect(core.clock.slept).toEqual([]);
});

test('a range is not waited for that could not be given back', async () => {
  const upload = await create();
  failStore('putObject');
  fail('dropFragment');
  await expect(write(upload, 0, 1000)).rejects.toThrow();
  await whenGivenBack();
  expect(await write(upload, 0, 1000)).toMatchObject({ receivedBytes: 1000 });
  expect(core.clock.slept).toEqual([]);
});

test.each(['is not heard', 'could not be given back'])('nor a slot whose lease %s', async (what) => {
  const upload = await create();
  if (what === 'is not heard') core.records.next('beginRangePart', unheard);
  else {
    failStore('uploadPart');
    fail('dropAttempt');
  }
  await expect(write(upload, 0, slotBytes)).rejects.toThrow();
  await whenGivenBack();
  expect(await write(upload, 0, slotBytes)).toMatchObject({ receivedBytes: slotBytes });
  expect(core.clock.slept).toEqual([]);
});

test('nor a part', async () => {
  const upload = await create();
  core.records.next('beginAttempt', unheard);
  fail('dropAttempt');
  await expect(core.put(upload, 1, file.subarray(0, slotBytes))).rejects.toThrow();
  await whenGivenBack();
  expect(await core.put(upload, 1, file.subarray(0, slotBytes))).toMatchObject({ partNumber: 1 });
  expect(core.clock.slept).toEqual([]);
});

test('nor a part that is to be composed, when the commit that covered it was not heard', async () => {
  const upload = await create();
  await write(upload, slotBytes, 2 * slotBytes);
  await write(upload, 0, 1000);
  core.records.next('commitFragment', unheard);
  await expect(write(upload, 1000, slotBytes)).rejects.toThrow();
  await whenGivenBack();
  expect(await core.complete(upload)).toMatchObject({ kind: 'completed' });
  expect(core.clock.slept).toEqual([]);
  expect(await core.objectOf(upload)).toEqual(file);
});

test('nor the writer of an append', async () => {
  const upload = await create();
  failStore('putObject');
  fail('dropFragment', 'endWriter');
  await expect(write(upload, 0, 1000, 'append')).rejects.toThrow();
  await whenGivenBack();
  expect(await write(upload, 0, 1000, 'append')).toMatchObject({ receivedBytes: 1000 });
  expect(core.clock.slept).toEqual([]);
});

test('nor a claim', async () => {
  const { upload, content } = await core.uploaded(2);
  failStore('completeMultipartUpload');
  fail('releaseClaim');
  await expect(core.complete(upload)).rejects.toThrow();
  await whenGivenBack();
  expect(await core.complete(upload)).toMatchObject({ kind: 'completed' });
  expect(core.clock.slept).toEqual([]);
  expect(await core.objectOf(upload)).toEqual(content);
});

test('an attempt that goes on under its name has been given back for good', async () => {
  const upload = await core.create({ sizeBytes: file.length, layout: 'undecided', partSizeBytes: undefined });
  core.records.next('dropAttempt', unheard);
  await expect(core.put(upload, 1, file)).rejects.toThrow('the answer is lost');
  expect(core.clock.runningTimers).toBe(0);
  expect(await core.put(upload, 1, file)).toMatchObject({ partNumber: 1 });
});

test('is tried until it is given back, or has run out', async () => {
  const clock = new FakeClock();
  const leases = new LeftLeases(clock, { leaseMs: 5_000 });
  const tried: string[] = [];
  let areBack = false;
  const giveBack = (name: string) => async () => {
    tried.push(name);
    if (!areBack) throw new Error('no answer');
  };
  const next = async () => {
    clock.advance(1_000);
    await setImmediate();
    return tried.splice(0);
  };
  await leases.giveBack(giveBack('a'));
  expect(tried.splice(0)).toEqual(['a']);
  for (const _ of [1, 2]) expect(await next()).toEqual(['a']);
  leases.leave(giveBack('b'));
  for (const _ of [3, 4]) expect(await next()).toEqual(['a']);
  expect(await next()).toEqual(['b']);
  areBack = true;
  expect(await next()).toEqual(['b']);
  await expect.poll(() => clock.runningTimers).toBe(0);
  expect(await next()).toEqual([]);
});
