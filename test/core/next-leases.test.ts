import { randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { abortUpload } from '../../src/core/abort.ts';
import type { Deps } from '../../src/core/deps.ts';
import type { Upload } from '../../src/core/upload.ts';
import { writeRange } from '../../src/core/write-range.ts';
import { CoreUnderTest, failureOf, principal } from './core-under-test.ts';

const slotBytes = 4096;
const chunkBytes = 1024;

let core: CoreUnderTest;
beforeAll(async () => {
  core = await CoreUnderTest.open();
});
afterAll(() => core[Symbol.asyncDispose]());
beforeEach(() => core.reset());

/** A client's file, and how it sends a chunk of that. */
async function fileOf(chunks: number) {
  const file = randomBytes(chunks * chunkBytes);
  let upload = await core.create({
    protocol: 'content-range',
    isSelfCompleting: true,
    sizeBytes: file.length,
    partSizeBytes: slotBytes,
  });
  const sendBytes = async (from: number, to: number, deps: Deps = core.deps): Promise<Upload> => {
    const body = () => Readable.from([Buffer.from(file.subarray(from, to))], { objectMode: false });
    const sizeBytes = to - from;
    upload = await writeRange(deps, {
      ...{ principal, upload, offset: from, sizeBytes, mode: 'anywhere', completes: true, body },
    });
    return upload;
  };
  const send = (index: number, deps?: Deps) => sendBytes(index * chunkBytes, (index + 1) * chunkBytes, deps);
  return { file, send, sendBytes, upload: () => upload };
}

async function leasedOf({ id }: Upload): Promise<readonly number[]> {
  const { rows } = await core.db.query<{ offset: string }>(
    `select "offset" from fragments where upload_id = $1 and state = 'pending' order by "offset"`,
    [id],
  );
  return rows.map(({ offset }) => Number(offset) / chunkBytes);
}

const leases = () => core.records.calls.filter((call) => call === 'beginFragment').length;

test('chunk after chunk, each finds its place leased, and the last one leaves nothing', async () => {
  const { file, send } = await fileOf(11);
  for (let index = 0; index < 11; index++) await send(index);
  expect(leases()).toBe(3);
  const upload = await send(10);
  expect(upload.state).toBe('completed');
  expect(await core.objectOf(upload)).toEqual(file);
  expect(await leasedOf(upload)).toEqual([]);
  expect(core.clock.slept).toEqual([]);
});

test('chunks out of order, or by replicas in turns, lease nothing ahead', async () => {
  const elsewhere = core.elsewhere();
  const { send, upload } = await fileOf(12);
  for (const index of [5, 3, 4, 1, 2]) await send(index);
  expect(await leasedOf(upload())).toEqual([]);
  for (const index of [6, 8, 10]) {
    await send(index);
    await send(index + 1, elsewhere);
  }
  expect(await leasedOf(upload())).toEqual([]);
});

test('what is stored behind a chunk is not leased', async () => {
  const { file, send, upload } = await fileOf(8);
  await send(5);
  for (const index of [2, 3, 4]) await send(index);
  expect(await leasedOf(upload())).toEqual([]);
  for (const index of [0, 1, 6]) await send(index);
  expect(await core.objectOf(await send(7))).toEqual(file);
});

describe('a place that is leased for the next chunk', () => {
  async function expecting() {
    const file = await fileOf(8);
    for (const index of [0, 1, 2]) await file.send(index);
    expect(await leasedOf(file.upload())).toEqual([3]);
    core.reset();
    return file;
  }

  test('is given back when nobody comes', async () => {
    const { file, send, upload } = await expecting();
    core.clock.advance(3_000);
    await expect.poll(() => leasedOf(upload())).toEqual([]);
    expect(core.clock.runningTimers).toBe(0);
    for (const index of [3, 4, 5, 6]) await send(index);
    expect(await core.objectOf(await send(7))).toEqual(file);
    expect(core.clock.slept).toEqual([]);
  });

  test.each([
    ['a shorter chunk', 3 * chunkBytes, 3 * chunkBytes + 10],
    ['a longer chunk', 3 * chunkBytes, 5 * chunkBytes],
    ['one that begins within it', 3 * chunkBytes + 100, 4 * chunkBytes],
    ['one that was sent again', 2 * chunkBytes, 4 * chunkBytes],
  ])('is in the way of no other here: %s', async (_what, from, to) => {
    const { file, send, sendBytes } = await expecting();
    await sendBytes(from, to);
    for (const index of [3, 4, 5, 6]) await send(index);
    expect(await core.objectOf(await send(7))).toEqual(file);
    expect(core.clock.slept).toEqual([]);
  });

  test('is given up for whoever asks for it', async () => {
    const { upload } = await expecting();
    const { rows } = await core.db.query<{ attempt_id: string }>(
      `select attempt_id from fragments where upload_id = $1 and state = 'pending'`,
      [upload().id],
    );
    core.deps.attempts.yield(rows[0]?.attempt_id ?? '');
    await expect.poll(() => leasedOf(upload())).toEqual([]);
  });

  test('is not used by a process that slept until its lease ran out', async () => {
    const { file, send, upload } = await expecting();
    await core.db.query(
      `update fragments set lease_until = now() - interval '1 second' where upload_id = $1 and state = 'pending'`,
      [upload().id],
    );
    const woken = new Date(core.clock.now().getTime() + 20_000);
    using _ = vi.spyOn(core.clock, 'now').mockReturnValue(woken);
    for (const index of [3, 4, 5, 6]) await send(index);
    expect(await core.objectOf(await send(7))).toEqual(file);
  });

  test('counts for nothing when the upload has ended meanwhile, and no object stays', async () => {
    const { send, upload } = await expecting();
    await abortUpload(core.deps, principal, upload().id);
    await turn();
    expect(await failureOf(send(3))).toMatchObject({ code: 'upload_gone' });
    expect(core.store.calls.filter((call) => call === 'putObject').length).toBe(
      core.store.calls.filter((call) => call === 'deleteObjects').length,
    );
  });

  test('is given back when the commit that asked for it was not heard', async () => {
    const { send, upload } = await expecting();
    core.records.next('commitFragment', async (proceed) => {
      await proceed();
      throw new Error('the answer is lost');
    });
    await expect(send(3)).rejects.toThrow();
    await expect.poll(() => leasedOf(upload())).toEqual([]);
  });
});
