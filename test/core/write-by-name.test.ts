import { randomBytes } from 'node:crypto';
import { PassThrough, Readable } from 'node:stream';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { RecentUploads } from '../../src/core/recent-uploads.ts';
import type { Upload } from '../../src/core/upload.ts';
import { writeByName } from '../../src/core/write-by-name.ts';
import { CoreUnderTest, failureOf, principal } from './core-under-test.ts';

let core: CoreUnderTest;
beforeAll(async () => {
  core = await CoreUnderTest.open();
});
afterAll(() => core[Symbol.asyncDispose]());
beforeEach(() => core.reset());

const chunkBytes = 1000;

/** A client that sends chunks of one file to a name. */
function clientOf(file: Buffer, key = randomBytes(8).toString('hex')) {
  const recent = new RecentUploads(core.clock);
  return (offset: number, sizeBytes = chunkBytes, body?: () => Readable): Promise<Upload> => {
    const bytes = file.subarray(offset, offset + sizeBytes);
    return writeByName(
      core.deps,
      { recent, withRoom: (work) => work() },
      {
        name: { principal, key, totalBytes: file.length },
        chunk: {
          offset,
          sizeBytes: bytes.length,
          totalBytes: file.length,
          chunkSizeBytes: chunkBytes,
          body: body ?? (() => Readable.from([Buffer.from(bytes)], { objectMode: false })),
        },
        supersedeAfterMs: 15_000,
      },
    );
  };
}

test('repeats that come after the end wait once for whoever begins the file anew, and not each of them', async () => {
  const file = randomBytes(4 * chunkBytes);
  const send = clientOf(file);
  for (let offset = 0; offset < file.length; offset += chunkBytes) await send(offset);
  const before = core.clock.slept.length;
  const ended = await send(chunkBytes);
  expect(ended.state).toBe('completed');
  const waited = core.clock.slept.length;
  expect(waited).toBeGreaterThan(before);
  expect(await failureOf(send(2 * chunkBytes + 1, 10))).toMatchObject({ details: { conflict: 'unverifiable' } });
  expect((await send(2 * chunkBytes)).id).toBe(ended.id);
  expect((await send(3 * chunkBytes)).id).toBe(ended.id);
  expect(core.clock.slept.length).toBe(waited);
});

test('a first chunk some time after the end begins the file anew, and those behind it belong to that', async () => {
  const file = randomBytes(3 * chunkBytes);
  const send = clientOf(file);
  for (const offset of [0, 1000, 2000]) await send(offset);
  const ended = await send(1000);
  expect((await send(0)).id).toBe(ended.id);
  await core.db.query('update uploads set completed_at = $2 where id = $1', [
    ended.id,
    new Date(core.clock.now().getTime() - 121_000),
  ]);
  const begun = await send(0);
  expect(begun).toMatchObject({ state: 'open' });
  expect(begun.id).not.toBe(ended.id);
  expect((await send(1000)).id).toBe(begun.id);
  expect(await send(2000)).toMatchObject({ id: begun.id, state: 'completed' });
});

describe('an upload of three chunks that was left with two of them', () => {
  async function leftover() {
    const key = randomBytes(8).toString('hex');
    const file = randomBytes(3 * chunkBytes);
    const send = clientOf(file, key);
    await send(0);
    const upload = await send(1000);
    await core.db.query('update uploads set last_write_at = $2 where id = $1', [
      upload.id,
      new Date(core.clock.now().getTime() - 20_000),
    ]);
    return { key, file, upload };
  }

  const holdsEnd = () => core.db.query('update completion_holds set until = now()');

  test('does not become a mixture, where the first chunk of another file comes last', async () => {
    const { key, upload } = await leftover();
    const send = clientOf(randomBytes(3 * chunkBytes), key);
    const first = Promise.withResolvers<unknown>();
    core.records.next('claimCompletion', async (proceed) => {
      first.resolve(await failureOf(send(0)));
      return proceed();
    });
    expect(await failureOf(send(2000))).toMatchObject({ details: { conflict: 'disputed' } });
    expect(await first.promise).toMatchObject({ details: { conflict: 'differs' } });
    expect(await core.find(upload)).toMatchObject({ state: 'open', isConflicted: true });
    expect(await core.objectOf(upload)).toBeUndefined();
  });

  test('waits for a first chunk that comes slowly', async () => {
    const { key, upload } = await leftover();
    const other = randomBytes(3 * chunkBytes);
    const slow = new PassThrough();
    const first = failureOf(clientOf(other, key)(0, chunkBytes, () => slow));
    await expect.poll(() => core.records.calls.includes('holdCompletion')).toBe(true);
    // Its own hold would do for this one.
    await core.db.query('update uploads set last_write_at = now() where id = $1', [upload.id]);
    core.records.next('claimCompletion', async (proceed) => {
      expect((await proceed()).kind).toBe('busy');
      slow.end(other.subarray(0, chunkBytes));
      expect(await first).toMatchObject({ details: { conflict: 'differs' } });
      return proceed();
    });
    expect(await failureOf(clientOf(other, key)(2000))).toMatchObject({ details: { conflict: 'disputed' } });
    expect(await core.find(upload)).toMatchObject({ state: 'open', isConflicted: true });
    expect(core.clock.runningTimers).toBe(0);
  });

  test('is completed by whoever goes on with it, a moment later', async () => {
    const { key, file, upload } = await leftover();
    core.records.next('claimCompletion', async (proceed) => {
      const claim = await proceed();
      expect(claim.kind).toBe('busy');
      await holdsEnd();
      return claim;
    });
    expect(await clientOf(file, key)(2000)).toMatchObject({ id: upload.id, state: 'completed' });
    expect(await core.objectOf(upload)).toEqual(file);
  });

  test('is completed at once when a client asks for it', async () => {
    const { key, file, upload } = await leftover();
    core.records.always('claimCompletion', async (proceed, input) => {
      if (input.byItself) await core.complete(upload);
      return proceed();
    });
    expect(await clientOf(file, key)(2000)).toMatchObject({ id: upload.id, state: 'completed' });
  });

  test('is completed by its first chunk, where that was the one that lacked its end', async () => {
    const key = randomBytes(8).toString('hex');
    const file = randomBytes(2 * chunkBytes);
    const send = clientOf(file, key);
    await send(1000);
    const upload = await send(0, 10);
    await core.db.query('update uploads set last_write_at = $2 where id = $1', [
      upload.id,
      new Date(core.clock.now().getTime() - 20_000),
    ]);
    core.records.next('claimCompletion', async (proceed) => {
      expect((await proceed()).kind).toBe('busy');
      expect(core.clock.runningTimers).toBe(0);
      await holdsEnd();
      return proceed();
    });
    expect(await clientOf(file, key)(0)).toMatchObject({ id: upload.id, state: 'completed' });
    expect(await core.objectOf(upload)).toEqual(file);
  });
});
