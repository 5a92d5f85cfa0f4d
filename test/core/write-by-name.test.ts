import { randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { RecentUploads } from '../../src/core/recent-uploads.ts';
import type { Upload } from '../../src/core/upload.ts';
import { writeByName } from '../../src/core/write-by-name.ts';
import { CoreUnderTest, failureOf, principal } from './core-under-test.ts';

let core: CoreUnderTest;
beforeAll(async () => {
  core = await CoreUnderTest.open();
});
afterAll(() => core[Symbol.asyncDispose]());

const chunkBytes = 1000;

/** A client that sends chunks of one file to a name. */
function clientOf(file: Buffer) {
  const key = randomBytes(8).toString('hex');
  const recent = new RecentUploads(core.clock);
  return (offset: number, sizeBytes = chunkBytes): Promise<Upload> => {
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
          body: () => Readable.from([Buffer.from(bytes)], { objectMode: false }),
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
