import { randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { announceWriter } from '../../src/core/announce-writer.ts';
import type { LiveAttempt } from '../../src/core/live-attempts.ts';
import { stopWriter } from '../../src/core/stop-writer.ts';
import type { Upload } from '../../src/core/upload.ts';
import { writeRange } from '../../src/core/write-range.ts';
import { CoreUnderTest, failureOf, principal } from './core-under-test.ts';

let core: CoreUnderTest;
beforeAll(async () => {
  core = await CoreUnderTest.open();
});
afterAll(() => core[Symbol.asyncDispose]());
beforeEach(() => core.reset());

const ofTheDraft = { protocol: 'ietf', layout: 'undecided', partSizeBytes: undefined } as const;

function append(upload: Upload, bytes: Buffer, writer?: LiveAttempt): Promise<Upload> {
  return writeRange(core.deps, {
    writer,
    ...{ principal, upload, offset: 0, sizeBytes: bytes.length, mode: 'append', isExact: true, completes: false },
    body: () => Readable.from([bytes], { objectMode: false }),
  });
}

test.each(['decideLayout', 'beginFragment', 'commitFragment'] as const)(
  'a writer that is in the midst of %s moves the offset no more once it is ended',
  async (call) => {
    const created = await core.create(ofTheDraft);
    const reached = Promise.withResolvers<void>();
    const held = Promise.withResolvers<void>();
    async function hold<T>(proceed: () => Promise<T>): Promise<T> {
      reached.resolve();
      await held.promise;
      return proceed();
    }
    if (call === 'decideLayout') core.records.next(call, hold);
    else if (call === 'beginFragment') core.records.next(call, hold);
    else core.records.next(call, hold);
    const writing = append(created, randomBytes(1000)).catch(() => undefined);
    await reached.promise;
    const stopped = stopWriter(core.deps, await core.find(created));
    await turn();
    held.resolve();
    const told = await stopped;
    await writing;
    expect((await core.find(created)).offset).toBe(told.offset);
    expect(core.deps.attempts.writersOf(created.id)).toEqual([]);
  },
);

test('a writer that is announced only brings nothing once it is ended', async () => {
  const upload = await core.create(ofTheDraft);
  const writer = announceWriter(core.deps, upload.id);
  const stopped = stopWriter(core.deps, upload);
  expect(await failureOf(append(upload, randomBytes(1000), writer))).toMatchObject({ code: 'busy' });
  expect((await stopped).offset).toBe(0);
  expect((await core.find(upload)).offset).toBe(0);
});

test('who writes in another one’s place ends those that came before, and neither itself nor later ones', async () => {
  const upload = await core.create(ofTheDraft);
  const [older, newer, newest] = [1, 2, 3].map(() => announceWriter(core.deps, upload.id)) as [
    LiveAttempt,
    LiveAttempt,
    LiveAttempt,
  ];
  const stopped = stopWriter(core.deps, upload, newer);
  expect([older, newer, newest].map(({ signal }) => signal.aborted)).toEqual([true, false, false]);
  older.end();
  await stopped;
  expect(await append(upload, randomBytes(1000), newer)).toMatchObject({ offset: 1000 });
  for (const each of [newer, newest]) each.end();
});
