import { randomBytes } from 'node:crypto';
import { PassThrough, Readable } from 'node:stream';
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { abortUpload } from '../../src/core/abort.ts';
import type { Deps } from '../../src/core/deps.ts';
import { startDigest } from '../../src/core/digest.ts';
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
  const sendBytes = async (from: number, bytes: Buffer, deps: Deps = core.deps, crc32?: string): Promise<Upload> => {
    const body = () => Readable.from([Buffer.from(bytes)], { objectMode: false });
    upload = await writeRange(deps, {
      ...{ principal, upload, offset: from, sizeBytes: bytes.length, mode: 'anywhere', completes: true, body },
      digests: crc32 === undefined ? undefined : { crc32 },
    });
    return upload;
  };
  const bytesOf = (from: number, to: number) => file.subarray(from, to);
  const send = (index: number, deps?: Deps) =>
    sendBytes(index * chunkBytes, bytesOf(index * chunkBytes, (index + 1) * chunkBytes), deps);
  return { file, send, sendBytes, bytesOf, upload: () => upload };
}

/** In which state the chunks are that are not durable: where each begins. */
async function onRecord({ id }: Upload, state: 'expected' | 'pending' | 'retired'): Promise<readonly number[]> {
  const { rows } = await core.db.query<{ offset: string }>(
    'select "offset" from fragments where upload_id = $1 and state = $2 order by "offset"',
    [id, state],
  );
  return rows.map(({ offset }) => Number(offset) / chunkBytes);
}

const leases = () => core.records.calls.filter((call) => call === 'beginFragment').length;

/** The next object that is stored is there, but the one who sent it does not hear of it before `answer`. */
function holdNextPut() {
  const stored = Promise.withResolvers<void>();
  const answered = Promise.withResolvers<void>();
  core.store.next('putObject', async (proceed) => {
    const answer = await proceed();
    stored.resolve();
    await answered.promise;
    return answer;
  });
  return { stored: stored.promise, answer: () => answered.resolve() };
}

test('chunk after chunk, each finds its place on record, and the last one leaves nothing', async () => {
  const { file, send } = await fileOf(11);
  for (let index = 0; index < 11; index++) await send(index);
  expect(leases()).toBe(3);
  const upload = await send(10);
  expect(upload.state).toBe('completed');
  expect(await core.objectOf(upload)).toEqual(file);
  await core.deps.compositions.whenIdle();
  expect(await core.db.query('select from fragments where upload_id = $1', [upload.id])).toMatchObject({ rowCount: 0 });
  expect(core.clock.runningTimers).toBe(0);
});

test('chunks out of order, or by replicas in turns, are not expected', async () => {
  const elsewhere = core.elsewhere();
  const { send, upload } = await fileOf(12);
  for (const index of [5, 3, 4, 1, 2]) await send(index);
  expect(await onRecord(upload(), 'expected')).toEqual([]);
  for (const index of [6, 8, 10]) {
    await send(index);
    await send(index + 1, elsewhere);
  }
  expect(await onRecord(upload(), 'expected')).toEqual([]);
});

test('what is stored behind a chunk is not expected', async () => {
  const { file, send, upload } = await fileOf(8);
  await send(5);
  for (const index of [2, 3, 4]) await send(index);
  expect(await onRecord(upload(), 'expected')).toEqual([]);
  for (const index of [0, 1, 6]) await send(index);
  expect(await core.objectOf(await send(7))).toEqual(file);
});

test('a chunk whose digest is stated has its place leased', async () => {
  const { file, sendBytes, bytesOf } = await fileOf(8);
  for (let at = 0; at < file.length; at += chunkBytes) {
    const bytes = bytesOf(at, at + chunkBytes);
    const digest = startDigest('crc32');
    digest.update(bytes);
    await sendBytes(at, bytes, core.deps, await digest.finish());
  }
  expect(leases()).toBe(8);
});

describe('an expected place', () => {
  async function expecting(chunks = 3) {
    const file = await fileOf(12);
    for (let index = 0; index < chunks; index++) await file.send(index);
    expect(await onRecord(file.upload(), 'expected')).toEqual([chunks]);
    core.reset();
    return file;
  }
  async function sendRest({ file, send }: Awaited<ReturnType<typeof fileOf>>, from = 3) {
    for (let index = from; index < 11; index++) await send(index);
    expect(await core.objectOf(await send(11))).toEqual(file);
  }

  /** A request for bytes up to the end of the fourth chunk, of which none has come. */
  function startWrite(upload: Upload, deps: Deps, sizeBytes: number) {
    const body = new PassThrough();
    const written = writeRange(deps, {
      ...{ principal, upload, offset: 4 * chunkBytes - sizeBytes, sizeBytes, mode: 'anywhere', completes: true },
      body: () => body,
    });
    written.catch(() => undefined);
    return { body, written };
  }

  test('keeps nobody from it, and the chunks behind it are expected again', async () => {
    const file = await expecting();
    const elsewhere = core.elsewhere();
    await file.send(3, elsewhere);
    expect(elsewhere.clock.now()).toEqual(core.elsewhere().clock.now());
    await sendRest(file);
    expect(core.clock.slept).toEqual([]);
  });

  test.each([
    ['a shorter chunk', 3 * chunkBytes, 3 * chunkBytes + 10],
    ['a longer chunk', 3 * chunkBytes, 5 * chunkBytes],
    ['one that begins within it', 3 * chunkBytes + 100, 4 * chunkBytes],
    ['one that was sent again', 2 * chunkBytes, 4 * chunkBytes],
  ])('is in the way of no other here: %s', async (_what, from, to) => {
    const file = await expecting();
    await file.sendBytes(from, file.bytesOf(from, to));
    await sendRest(file);
    expect(core.clock.slept).toEqual([]);
  });

  test('counts once: whoever is too late finds its bytes stored', async () => {
    const file = await expecting();
    const put = holdNextPut();
    const late = file.send(3);
    await put.stored;
    await file.send(3, core.elsewhere());
    put.answer();
    await late;
    expect((await core.find(file.upload())).receivedBytes).toBe(4 * chunkBytes);
    await sendRest(file);
  });

  test('counts once: whoever is too late with other bytes is told so', async () => {
    const file = await expecting();
    const put = holdNextPut();
    const late = file.sendBytes(3 * chunkBytes, randomBytes(chunkBytes));
    await put.stored;
    await file.send(3, core.elsewhere());
    put.answer();
    expect(await failureOf(late)).toMatchObject({ code: 'state_conflict', details: { conflict: 'differs' } });
    expect(await file.send(3)).toMatchObject({ offset: 4 * chunkBytes, isConflicted: true });
  });

  test.each([
    ['that ends within it', 3 * chunkBytes - 10, 3 * chunkBytes + 10],
    ['that begins within it', 4 * chunkBytes - 10, 4 * chunkBytes],
    ['that is within it', 3 * chunkBytes + 10, 3 * chunkBytes + 20],
  ])('is stored around a chunk %s', async (_what, from, to) => {
    const file = await expecting();
    const put = holdNextPut();
    const late = file.send(3);
    await put.stored;
    await file.sendBytes(from, file.bytesOf(from, to), core.elsewhere());
    put.answer();
    await late;
    await sendRest(file, 4);
  });

  test('is another one’s who has leased it, until that one has stored its bytes', async () => {
    const file = await expecting();
    const [mine, theirs] = [holdNextPut(), holdNextPut()];
    const late = file.send(3);
    await mine.stored;
    const other = file.send(3, core.elsewhere());
    await theirs.stored;
    core.records.next('endDeadLeases', async (proceed) => {
      expect((await core.find(file.upload())).receivedBytes).toBe(3 * chunkBytes);
      theirs.answer();
      await other;
      return proceed();
    });
    mine.answer();
    await late;
    expect((await core.find(file.upload())).receivedBytes).toBe(4 * chunkBytes);
    await sendRest(file, 4);
  });

  test.each(['here', 'elsewhere'])(
    'is a newer one’s, %s, also where that one’s bytes are still coming',
    async (where) => {
      const file = await expecting();
      const put = holdNextPut();
      const late = file.send(3);
      await put.stored;
      const newer = startWrite(file.upload(), where === 'here' ? core.deps : core.elsewhere(), chunkBytes);
      await expect.poll(() => onRecord(file.upload(), 'pending')).toEqual([3]);
      put.answer();
      expect(await failureOf(late)).toMatchObject({ code: 'busy', message: expect.stringContaining('newer') });
      expect(core.records.calls).not.toContain('askToYield');
      newer.body.end(file.bytesOf(3 * chunkBytes, 4 * chunkBytes));
      expect(await newer.written).toMatchObject({ offset: 4 * chunkBytes });
      await sendRest(file, 4);
    },
  );

  test('is not an older one’s that hangs: that one is ended', async () => {
    const file = await expecting();
    const hanging = startWrite(file.upload(), core.deps, chunkBytes + 100);
    await expect.poll(() => onRecord(file.upload(), 'pending')).toEqual([3]);
    await file.send(3);
    expect(await failureOf(hanging.written)).toMatchObject({ code: 'busy' });
    await sendRest(file, 4);
  });

  test('is not an older one’s elsewhere: that one is asked to give way', async () => {
    const file = await expecting();
    const hanging = startWrite(file.upload(), core.elsewhere(), chunkBytes + 100);
    await expect.poll(() => onRecord(file.upload(), 'pending')).toEqual([3]);
    core.records.next('askOlderToYield', async (proceed) => {
      await proceed();
      hanging.body.destroy();
      await hanging.written.catch(() => undefined);
    });
    await file.send(3);
    await sendRest(file, 4);
  });

  test('is no part’s any more whose lease ran out: it is doubtful', async () => {
    const file = await expecting(4);
    const put = holdNextPut();
    const mine = file.send(4);
    await put.stored;
    await core.db.query(
      `insert into parts (upload_id, part_number, attempt_id, attempt_until)
         values ($1, 2, 'of one that died', now() - interval '1 second')`,
      [file.upload().id],
    );
    put.answer();
    await mine;
    const { rows } = await core.db.query(
      'select doubtful, attempt_id from parts where upload_id = $1 and part_number = 2',
      [file.upload().id],
    );
    expect(rows).toEqual([{ doubtful: true, attempt_id: null }]);
  });

  test('that the reaper took back has its bytes stored again', async () => {
    const file = await expecting();
    const put = holdNextPut();
    const late = file.send(3);
    await put.stored;
    await core.db.query(`update fragments set lease_until = now() where state = 'expected'`);
    await core.deps.records.retireAbandoned(1_000);
    expect(await onRecord(file.upload(), 'retired')).toEqual([3]);
    put.answer();
    await late;
    await sendRest(file, 4);
  });

  test('is not used by a process that slept', async () => {
    const file = await expecting();
    const woken = new Date(core.clock.now().getTime() + 12_000);
    using _ = vi.spyOn(core.clock, 'now').mockReturnValue(woken);
    await file.send(3);
    expect(leases()).toBe(1);
    await sendRest(file, 4);
  });

  test('stays on record as long as its chunk takes', async () => {
    const file = await expecting();
    const put = holdNextPut();
    const slow = file.send(3);
    await put.stored;
    await core.db.query(`update fragments set lease_until = now() where state = 'expected'`);
    core.clock.advance(5_000);
    await expect.poll(() => core.records.calls).toContain('renewFragment');
    await expect
      .poll(() =>
        core.db.query(`select from fragments where upload_id = $1 and lease_until <= now()`, [file.upload().id]),
      )
      .toMatchObject({ rowCount: 0 });
    await core.deps.records.retireAbandoned(1_000);
    expect(await onRecord(file.upload(), 'expected')).toEqual([3]);
    put.answer();
    await slow;
    await sendRest(file, 4);
  });

  test('counts for nothing when the upload has ended meanwhile, and no object stays', async () => {
    const { send, upload } = await expecting();
    await abortUpload(core.deps, principal, upload().id);
    expect(await failureOf(send(3))).toMatchObject({ code: 'upload_gone' });
    const { rows } = await core.db.query<{ staging_key: string }>(
      `select staging_key from fragments where upload_id = $1 and "offset" = $2`,
      [upload().id, 3 * chunkBytes],
    );
    expect(core.store.calls).toContain('putObject');
    for (const { staging_key: key } of rows) {
      expect(await core.deps.store.headObject({ bucket: upload().bucket, key })).toBeUndefined();
    }
    expect(rows).toHaveLength(1);
  });

  test('keeps nobody from it where the commit that put it on record was not heard', async () => {
    const file = await expecting(4);
    core.records.next('commitFragment', async (proceed) => {
      await proceed();
      throw new Error('the answer is lost');
    });
    await expect(file.send(4)).rejects.toThrow();
    expect(await onRecord(file.upload(), 'expected')).toEqual([5]);
    await sendRest(file, 4);
    expect(core.clock.slept).toEqual([]);
  });
});
