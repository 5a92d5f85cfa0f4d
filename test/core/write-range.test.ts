import { randomBytes } from 'node:crypto';
import { PassThrough, Readable } from 'node:stream';
import { setImmediate as turn } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { abortUpload } from '../../src/core/abort.ts';
import { completeUpload } from '../../src/core/complete.ts';
import type { CreateInput } from '../../src/core/create.ts';
import type { Deps } from '../../src/core/deps.ts';
import { ClientGoneError, UploadError } from '../../src/core/errors.ts';
import { missingRanges } from '../../src/core/missing-ranges.ts';
import { StoreError } from '../../src/core/object-store.ts';
import { tellSize } from '../../src/core/tell-size.ts';
import type { Upload } from '../../src/core/upload.ts';
import { type WriteRangeInput, writeRange } from '../../src/core/write-range.ts';
import { Reaper } from '../../src/reaper/reaper.ts';
import { CoreUnderTest, failureOf, principal } from './core-under-test.ts';

const slotBytes = 4096;
let core: CoreUnderTest;
beforeAll(async () => {
  core = await CoreUnderTest.open();
});
afterAll(() => core[Symbol.asyncDispose]());
beforeEach(() => core.reset());

function create(sizeBytes: number | undefined, input: Partial<CreateInput> = {}): Promise<Upload> {
  return core.create({
    protocol: 'content-range',
    isSelfCompleting: true,
    ...(sizeBytes === undefined ? {} : { sizeBytes }),
    partSizeBytes: slotBytes,
    ...input,
  });
}

function bodyOf(content: Buffer, pieceBytes = 700): Readable {
  const pieces: Buffer[] = [];
  for (let at = 0; at < content.length; at += pieceBytes)
    pieces.push(Buffer.from(content.subarray(at, at + pieceBytes)));
  return Readable.from(pieces, { objectMode: false });
}

async function write(
  upload: Upload,
  offset: number,
  content: Buffer,
  input: Partial<WriteRangeInput> = {},
  deps: Deps = core.deps,
): Promise<Upload> {
  return writeRange(deps, {
    principal,
    upload: await core.find(upload),
    offset,
    sizeBytes: content.length,
    mode: 'anywhere',
    completes: true,
    body: () => bodyOf(content),
    ...input,
  });
}

/** A body that sends so much and then breaks off. */
function breakingBody(content: Buffer, afterBytes: number): Readable {
  const body = new PassThrough({ highWaterMark: 1024 * 1024 });
  void (async () => {
    for (let at = 0; at < afterBytes; at += 500) {
      body.write(Buffer.from(content.subarray(at, Math.min(at + 500, afterBytes))));
      await turn();
    }
    body.destroy(new Error('cut'));
  })();
  return body;
}

async function expectObject(upload: Upload, content: Buffer): Promise<void> {
  expect((await core.find(upload)).state).toBe('completed');
  expect((await core.objectOf(upload))?.equals(content)).toBe(true);
}

async function leftovers(upload: Upload): Promise<{ fragments: number; objects: number }> {
  const { rows } = await core.db.query('select 1 from fragments where upload_id = $1', [upload.id]);
  const objects = await Array.fromAsync(
    core.deps.store.listObjects({ bucket: core.bucket, prefix: `.partway/${upload.id}/` }),
  );
  return { fragments: rows.length, objects: objects.length };
}

async function reapAfterLeases(upload: Upload): Promise<void> {
  await core.db.query("update fragments set lease_until = now() - interval '1 second' where upload_id = $1", [
    upload.id,
  ]);
  await new Reaper(core.deps, { onFault: () => undefined, onBug: expect.fail }).round();
}

describe('a range', () => {
  test('of small chunks in order fills parts, and the last one completes', async () => {
    const content = randomBytes(3 * slotBytes + 100);
    const upload = await create(content.length);
    for (let at = 0; at < content.length; at += 1000) {
      const now = await write(upload, at, content.subarray(at, at + 1000));
      expect(now.offset).toBe(Math.min(at + 1000, content.length));
    }
    await expectObject(upload, content);
    await core.deps.compositions.whenIdle();
    expect(await leftovers(upload)).toEqual({ fragments: 0, objects: 0 });
  });

  test('that no process read back went to the store once as a fragment and once as a part', async () => {
    const content = randomBytes(2 * slotBytes);
    const upload = await create(content.length);
    core.reset();
    for (let at = 0; at < content.length; at += 1024) await write(upload, at, content.subarray(at, at + 1024));
    await expectObject(upload, content);
    await core.deps.compositions.whenIdle();
    const calls = Map.groupBy(core.store.calls, (name) => name);
    expect(calls.get('putObject')?.length).toBe(8);
    expect(calls.get('uploadPart')?.length).toBe(2);
    expect(calls.get('deleteObjects')?.length).toBe(2);
    expect(calls.has('listParts')).toBe(false);
  });

  test('that ends an upload has the object made as soon as its last part is composed', async () => {
    const content = randomBytes(slotBytes);
    const upload = await create(content.length);
    const deleting = Promise.withResolvers<void>();
    core.store.next('deleteObjects', async (proceed) => {
      await deleting.promise;
      return proceed();
    });
    const slept = core.clock.slept.length;
    for (let at = 0; at < content.length; at += 2048) await write(upload, at, content.subarray(at, at + 2048));
    await expectObject(upload, content);
    expect(core.clock.slept.slice(slept)).toEqual([]);
    deleting.resolve();
    await core.deps.compositions.whenIdle();
    expect(await leftovers(upload)).toEqual({ fragments: 0, objects: 0 });
  });

  test.each(['given', 'refused'])('comes on while its place is waited for, and is counted (%s)', async (outcome) => {
    const content = randomBytes(512 * 1024);
    const upload = await create(2 * content.length, { partSizeBytes: 2 * content.length });
    core.records.next('beginFragment', async (proceed) => {
      await expect.poll(() => core.deps.memory.usedBytes).toBeGreaterThan(content.length / 2);
      if (outcome === 'refused') throw new UploadError('records_unavailable', 'away');
      return proceed();
    });
    const written = write(upload, 0, content, { body: () => bodyOf(content, 16 * 1024) });
    if (outcome === 'refused') expect((await failureOf(written)).code).toBe('records_unavailable');
    else await written;
    const held = outcome === 'refused' ? 0 : content.length;
    expect(core.deps.memory.usedBytes).toBe(held);
    if (outcome === 'refused') return;
    await write(upload, content.length, content);
    await expectObject(upload, Buffer.concat([content, content]));
  });

  test('costs two calls to the records', async () => {
    const content = randomBytes(4 * slotBytes);
    const upload = await create(content.length);
    const seen = await core.find(upload);
    core.reset();
    await write(upload, 0, content.subarray(0, 1000), { upload: seen });
    expect(core.records.calls.filter((name) => name !== 'find')).toEqual(['beginFragment', 'commitFragment']);
  });

  test('that covers slots whole needs no fragment', async () => {
    const content = randomBytes(5 * slotBytes + 11);
    const upload = await create(content.length);
    core.reset();
    await write(upload, 0, content);
    await expectObject(upload, content);
    expect(core.store.calls.filter((name) => name === 'putObject')).toEqual([]);
    expect(core.store.calls.filter((name) => name === 'uploadPart').length).toBe(6);
  });

  test('in any order and from several writers at once ends up in its place', async () => {
    const content = randomBytes(4 * slotBytes + 333);
    const upload = await create(content.length);
    const starts = [...Array(Math.ceil(content.length / 900)).keys()].map((index) => index * 900).reverse();
    await Promise.all(starts.map((at) => write(upload, at, content.subarray(at, at + 900))));
    await expectObject(upload, content);
  });

  test('of unknown length and total is received to its end', async () => {
    const content = randomBytes(3 * slotBytes + 5);
    const upload = await create(undefined);
    await write(upload, 0, content, { sizeBytes: undefined, endsUpload: true });
    await expectObject(upload, content);
  });

  test.each([0, slotBytes, 2 * slotBytes])('of unknown length that ends at %i completes', async (size) => {
    const content = randomBytes(size);
    const upload = await create(undefined);
    await write(upload, 0, content, { sizeBytes: undefined, endsUpload: true });
    await expectObject(upload, content);
  });

  test('waits for its total where that is told late', async () => {
    const content = randomBytes(2 * slotBytes + 77);
    const upload = await create(undefined);
    expect((await write(upload, 0, content)).state).toBe('open');
    const failure = await failureOf(
      tellSize(core.deps, { principal, upload, totalBytes: content.length - 1, completes: true }),
    );
    expect(failure.details.conflict).toBe('size');
    await tellSize(core.deps, { principal, upload, totalBytes: content.length, completes: true });
    await expectObject(upload, content);
  });
});

describe('stored bytes', () => {
  test('that come again equal change nothing', async () => {
    const content = randomBytes(2 * slotBytes);
    const upload = await create(content.length);
    for (let at = 0; at < slotBytes + 2048; at += 1024) await write(upload, at, content.subarray(at, at + 1024));
    core.reset();
    for (let at = 0; at < slotBytes + 2048; at += 1024) await write(upload, at, content.subarray(at, at + 1024));
    expect(core.store.calls.filter((name) => name !== 'deleteObjects')).toEqual([]);
    expect((await write(upload, 0, content)).state).toBe('completed');
    await expectObject(upload, content);
  });

  test('that differ are refused, and keep the upload from completing by itself', async () => {
    const content = randomBytes(slotBytes);
    const upload = await create(content.length);
    await write(upload, 0, content.subarray(0, 1000));
    const failure = await failureOf(write(upload, 0, randomBytes(1000)));
    expect(failure.details.conflict).toBe('differs');
    const after = await write(upload, 1000, content.subarray(1000));
    expect(after.state).toBe('open');
    expect(after.offset).toBe(slotBytes);
  });

  test.each(['held in memory', 'read back'])('of a part of a fragment are compared by its bytes, %s', async (how) => {
    const content = randomBytes(slotBytes);
    const upload = await create(content.length);
    await write(upload, 1000, content.subarray(1000, 2000));
    const deps = how === 'read back' ? core.elsewhere() : core.deps;
    const again = (bytes: Buffer, from: number, to: number) => write(upload, from, bytes.subarray(from, to), {}, deps);
    expect((await again(content, 0, 1500)).offset).toBe(2000);
    expect((await again(content, 1500, 2500)).offset).toBe(2500);
    expect((await again(content, 1100, 1200)).offset).toBe(2500);
    const other = Buffer.from(content);
    other[1700] = ~other[1700]!;
    for (const [from, to] of [
      [1500, 2500],
      [1600, 1701],
    ] as const) {
      expect((await failureOf(again(other, from, to))).details.conflict).toBe('differs');
    }
  });

  test.each([
    ['breaks off', () => new PassThrough().destroy(new Error('reset'))],
    ['is short', (right: Buffer) => Readable.from([right.subarray(0, 10)])],
  ])('where the store’s answer %s are no other bytes, and may come again', async (_, body) => {
    const content = randomBytes(slotBytes);
    const upload = await create(content.length);
    await write(upload, 0, content.subarray(0, 1000));
    const deps = core.elsewhere();
    core.store.next('getObject', async (proceed) => {
      const answer = await proceed();
      answer.body.destroy();
      return { ...answer, body: body(content.subarray(500, 1000)) };
    });
    const failure = await failureOf(write(upload, 500, content.subarray(500, 1500), {}, deps));
    expect(failure.code).toBe('store_unavailable');
    expect((await write(upload, 500, content.subarray(500, 1500), {}, deps)).offset).toBe(1500);
    expect((await core.find(upload)).isConflicted).toBe(false);
  });

  test('of a part that is one run are held in no memory, however large it is', async () => {
    const partBytes = 4 * 1024 * 1024;
    const content = randomBytes(2 * partBytes);
    const upload = await create(content.length, { partSizeBytes: partBytes });
    await core.put(upload, 1, content.subarray(0, partBytes));
    const body = new PassThrough({ highWaterMark: partBytes });
    for (let at = 0; at < partBytes; at += 65_536) body.write(content.subarray(at, at + 65_536));
    const sent = content.subarray(0, partBytes - 1);
    const failure = await failureOf(write(upload, 0, sent, { body: () => body }));
    expect(failure.details.conflict).toBe('unverifiable');
    expect(body.readableLength).toBeGreaterThan(partBytes / 2);
  });

  test('of a part of a slot are compared by the MiB, whatever chunks they come in', async () => {
    const MiB = 1024 * 1024;
    const content = randomBytes(6 * MiB);
    const upload = await create(content.length, { partSizeBytes: 4 * MiB });
    await write(upload, 0, content.subarray(0, 4 * MiB), { body: () => bodyOf(content.subarray(0, 4 * MiB), 65_000) });
    const other = Buffer.from(content);
    other[3 * MiB] = ~other[3 * MiB]!;
    const again = (bytes: Buffer, from: number, to: number) =>
      write(upload, from, bytes.subarray(from, to), { body: () => bodyOf(bytes.subarray(from, to), 65_000) });
    expect((await failureOf(again(other, 2 * MiB, 5 * MiB))).details.conflict).toBe('differs');
    expect((await failureOf(again(content, 2 * MiB + 1, 5 * MiB))).details.conflict).toBe('unverifiable');
    expect((await again(content, 2 * MiB, 5 * MiB)).offset).toBe(5 * MiB);
  });

  test('of a completed upload are compared too', async () => {
    const content = randomBytes(2 * slotBytes + 10);
    const upload = await create(content.length);
    for (let at = 0; at < content.length; at += 1024) await write(upload, at, content.subarray(at, at + 1024));
    const again = await write(upload, 8192, content.subarray(8192));
    expect(again.state).toBe('completed');
    const failure = await failureOf(write(upload, 0, randomBytes(1024)));
    expect(failure.details.conflict).toBe('differs');
    // Of a length that nobody told, and no more of it than a piece of what came as one.
    const short = write(upload, 0, content.subarray(0, 1500), { sizeBytes: undefined });
    expect((await failureOf(short)).details.conflict).toBe('unverifiable');
  });

  test('are told as what is missing around them', async () => {
    const content = randomBytes(4 * slotBytes);
    const upload = await create(content.length);
    await write(upload, 1000, content.subarray(1000, 2000));
    await write(upload, slotBytes, content.subarray(slotBytes, 2 * slotBytes));
    expect(await missingRanges(core.deps, await core.find(upload), { limit: 10 })).toEqual([
      { from: 0, to: 1000 },
      { from: 2000, to: slotBytes },
      { from: 2 * slotBytes, to: 4 * slotBytes },
    ]);
  });
});

describe('a client that breaks off', () => {
  test('in a slot that was piped through has what it sent', async () => {
    const content = randomBytes(3 * slotBytes);
    const upload = await create(content.length);
    const broken = write(upload, 0, content, { body: () => breakingBody(content, slotBytes + 1500) });
    await expect(broken).rejects.toThrow(ClientGoneError);
    const { offset } = await core.find(upload);
    expect(offset).toBe(slotBytes + 1500);
    await write(upload, offset, content.subarray(offset));
    await expectObject(upload, content);
  });

  test.each([0, 256 * 1024 * 1024])('every 300 bytes gets through with a budget of %i', async (budgetBytes) => {
    const content = randomBytes(2 * slotBytes + 100);
    const upload = await create(content.length);
    const deps = core.elsewhere(budgetBytes);
    let tries = 0;
    for (;;) {
      const { offset, state } = await core.find(upload);
      if (state === 'completed') break;
      tries += 1;
      expect(tries).toBeLessThan(60);
      const rest = content.subarray(offset);
      const body = () => (rest.length <= 300 ? bodyOf(rest) : breakingBody(rest, 300));
      await write(upload, offset, rest, { body }, deps).catch((error: unknown) => {
        if (!(error instanceof ClientGoneError)) throw error;
      });
    }
    await expectObject(upload, content);
  });
});

describe('a store that breaks off', () => {
  test.each(['uploadPart', 'putObject'] as const)('in %s gets the bytes again from memory', async (call) => {
    const content = randomBytes(2 * slotBytes + 100);
    const upload = await create(content.length);
    core.store.next(call, () => Promise.reject(new StoreError('unavailable', 'cut')));
    await write(upload, 0, content.subarray(0, slotBytes + 50));
    await write(upload, slotBytes + 50, content.subarray(slotBytes + 50));
    await expectObject(upload, content);
  });

  test('while the upload is completed by another has the bytes sent again, and they are compared then', async () => {
    const content = randomBytes(slotBytes);
    const upload = await create(content.length);
    await write(upload, 0, content.subarray(0, 1000));
    const rest = content.subarray(1000);
    core.store.next('putObject', () => Promise.reject(new StoreError('unavailable', 'cut')));
    core.records.next(
      'beginFragment',
      (proceed) => proceed(),
      async (proceed) => {
        await write(upload, 1000, rest, {}, core.elsewhere());
        return proceed();
      },
    );
    expect(await failureOf(write(upload, 1000, rest))).toMatchObject({ code: 'busy' });
    expect(await write(upload, 1000, rest)).toMatchObject({ state: 'completed' });
    const other = await failureOf(write(upload, 1000, randomBytes(rest.length)));
    expect(other).toMatchObject({ code: 'state_conflict', details: { conflict: 'differs' } });
  });

  test('for good leaves what was durable', async () => {
    const content = randomBytes(2 * slotBytes);
    const upload = await create(content.length);
    await write(upload, 0, content.subarray(0, 1000));
    core.store.always('putObject', () => Promise.reject(new StoreError('unavailable', 'cut')));
    const failure = await failureOf(write(upload, 1000, content.subarray(1000, 2000)));
    expect(failure.code).toBe('store_unavailable');
    core.reset();
    expect((await core.find(upload)).offset).toBe(1000);
    await write(upload, 1000, content.subarray(1000));
    await expectObject(upload, content);
  });
});

describe('a process that dies', () => {
  /** All of it is durable, and none of it a part. */
  async function uncomposed(content: Buffer): Promise<Upload> {
    const upload = await create(content.length, { isSelfCompleting: false });
    core.store.always('uploadPart', () => Promise.reject(new StoreError('refused', 'dead')));
    for (let at = 0; at < content.length; at += 1024) {
      await write(upload, at, content.subarray(at, at + 1024), { completes: false }).catch(() => undefined);
    }
    await core.deps.compositions.whenIdle();
    core.reset();
    return upload;
  }

  test('before it composes leaves that to the reaper', async () => {
    const content = randomBytes(2 * slotBytes);
    const upload = await create(content.length);
    core.store.always('uploadPart', () => Promise.reject(new StoreError('refused', 'dead')));
    for (let at = 0; at < content.length; at += 1024) {
      await write(upload, at, content.subarray(at, at + 1024)).catch(() => undefined);
    }
    core.reset();
    await core.db.query("update uploads set work_due = now() - interval '1 second' where id = $1", [upload.id]);
    await new Reaper(core.deps, { onFault: () => undefined, onBug: expect.fail }).round();
    await expectObject(upload, content);
  });

  test('before it composes leaves that to whoever completes, who is told where the upload is aborted meanwhile', async () => {
    const content = randomBytes(2 * slotBytes);
    const upload = await uncomposed(content);
    core.store.next('uploadPart', async (proceed) => {
      const stored = await proceed();
      await abortUpload(core.deps, principal, upload.id);
      return stored;
    });
    const failure = await failureOf(completeUpload(core.deps, { principal, uploadId: upload.id }));
    expect(failure).toMatchObject({ code: 'upload_gone', details: { reason: 'requested' } });
  });

  test('while it composes is overtaken by whoever completes, and is told that when it wakes', async () => {
    const content = randomBytes(2 * slotBytes);
    const upload = await uncomposed(content);
    const complete = () => completeUpload(core.deps, { principal, uploadId: upload.id });
    core.store.next('uploadPart', async (proceed) => {
      await core.db.query("update parts set attempt_until = now() - interval '1 s' where upload_id = $1", [upload.id]);
      expect((await complete()).kind).toBe('completed');
      return proceed();
    });
    expect(await complete()).toMatchObject({ kind: 'completed' });
    await expectObject(upload, content);
  });

  test('with a fragment under way has it deleted only when nothing of it can land any more', async () => {
    const upload = await create(slotBytes);
    core.records.next('commitFragment', () => new Promise<never>(() => undefined));
    void write(upload, 0, randomBytes(1000));
    await expect.poll(() => leftovers(upload)).toEqual({ fragments: 1, objects: 1 });
    await reapAfterLeases(upload);
    expect(await leftovers(upload)).toEqual({ fragments: 1, objects: 1 });
    await reapAfterLeases(upload);
    expect(await leftovers(upload)).toEqual({ fragments: 0, objects: 0 });
  });

  test('for all others, and wakes when the upload is completed, is not told that its bytes are stored', async () => {
    const upload = await create(slotBytes);
    core.records.next('commitFragment', async (proceed) => {
      await core.db.query("update fragments set lease_until = now() - interval '1 second'");
      const elsewhere = core.elsewhere();
      await write(upload, 0, randomBytes(1000), {}, elsewhere);
      await write(upload, 1000, randomBytes(slotBytes - 1000), {}, elsewhere);
      return proceed();
    });
    expect((await failureOf(write(upload, 0, randomBytes(1000)))).code).toBe('busy');
    expect((await core.find(upload)).state).toBe('completed');
  });

  test('for all others, and wakes when its fragment is long swept, leaves no object', async () => {
    const upload = await create(slotBytes);
    core.store.next('putObject', async (proceed) => {
      await reapAfterLeases(upload);
      await reapAfterLeases(upload);
      return proceed();
    });
    expect((await failureOf(write(upload, 0, randomBytes(1000)))).code).toBe('busy');
    expect(await leftovers(upload)).toEqual({ fragments: 0, objects: 0 });
  });

  test('with a fragment under way leaves nothing behind', async () => {
    const content = randomBytes(slotBytes);
    const upload = await create(content.length);
    const dead = new Promise<never>(() => undefined);
    core.records.next('commitFragment', () => dead);
    void write(upload, 0, content.subarray(0, 1000));
    await expect.poll(() => leftovers(upload)).toEqual({ fragments: 1, objects: 1 });
    await core.db.query("update fragments set lease_until = now() - interval '1 second' where upload_id = $1", [
      upload.id,
    ]);
    await write(upload, 0, content);
    await expectObject(upload, content);
    await core.db.query("update fragments set lease_until = now() - interval '1 second' where upload_id = $1", [
      upload.id,
    ]);
    await new Reaper(core.deps, { onFault: () => undefined, onBug: expect.fail }).round();
    expect(await leftovers(upload)).toEqual({ fragments: 0, objects: 0 });
  });
});

describe('an append', () => {
  test('passes over what is durable and refuses a hole', async () => {
    const content = randomBytes(slotBytes + 200);
    const upload = await create(content.length, { protocol: 'google', layout: 'planned' });
    const append = (from: number, to: number) => write(upload, from, content.subarray(from, to), { mode: 'append' });
    await append(0, 1000);
    await append(500, 1500);
    const failure = await failureOf(append(2000, 2500));
    expect(failure.details).toMatchObject({ conflict: 'gap', offset: 1500 });
    await append(1000, content.length);
    await expectObject(upload, content);
  });

  test('that is not exact holds what others stored since its client was told against what it can', async () => {
    const content = randomBytes(3 * slotBytes);
    const upload = await create(content.length, { protocol: 'google', layout: 'planned' });
    const append = (from: number, to: number) => write(upload, from, content.subarray(from, to), { mode: 'append' });
    await append(0, 1000);
    await write(upload, 1000, randomBytes(500));
    expect(await failureOf(append(1000, 4000))).toMatchObject({ details: { conflict: 'differs', first: 1000 } });
    const replaced = await create(content.length, { protocol: 'google', layout: 'planned' });
    const part = content.subarray(0, slotBytes);
    await write(replaced, 0, part, { mode: 'append' });
    await core.put(replaced, 1, part);
    await write(replaced, slotBytes, randomBytes(500));
    const rest = { mode: 'append' } as const;
    expect(await failureOf(write(replaced, slotBytes, content.subarray(slotBytes), rest))).toMatchObject({
      details: { conflict: 'differs', first: slotBytes },
    });
    const parted = await create(content.length, { protocol: 'google', layout: 'planned' });
    await core.put(parted, 1, part);
    // A part that comes again can't be compared in pieces: its client has sent what is durable, and goes on.
    await write(parted, 0, content.subarray(0, 1000), { mode: 'append' });
    await write(parted, 1000, content.subarray(1000), { mode: 'append' });
    await expectObject(parted, content);
  });

  describe.each([
    ['exact', 'tus'],
    ['one that passes over what is durable', 'google'],
  ] as const)('(%s) that meets what others stored further on', (kind, protocol) => {
    const isExact = kind === 'exact';
    const others = { offset: 2000, sizeBytes: 1000 };
    const end = others.offset + others.sizeBytes;

    async function met(content: Buffer): Promise<Upload> {
      const upload = await create(2 * slotBytes, { protocol, layout: 'planned', isSelfCompleting: false });
      await write(upload, others.offset, content.subarray(others.offset, end));
      return upload;
    }

    test.each([
      ['as a fragment that reaches beyond it', 0, 2500],
      ['as a fragment within it', 0, 3500],
      ['in a slot that it covers', 0, slotBytes],
      ['in several pieces', 1999, 2001],
    ])('is stored where its bytes are the same (%s), and refused where not', async (_, begin, to) => {
      const content = randomBytes(2 * slotBytes);
      const upload = await met(content);
      const append = (from: number, bytes: Buffer, deps?: Deps) =>
        write(upload, from, bytes, { mode: 'append', isExact }, deps);
      if (begin > 0) await append(0, content.subarray(0, begin));
      const differing = Buffer.from(content.subarray(begin, to));
      differing[others.offset - begin]! ^= 1;
      expect(await failureOf(append(begin, differing))).toMatchObject({ details: { conflict: 'differs' } });
      await append(begin, content.subarray(begin, to));
      const { offset } = await core.find(upload);
      expect(offset).toBe(Math.max(to, end));
      await append(offset, content.subarray(offset));
      expect((await core.find(upload)).offset).toBe(content.length);
    });
  });

  test.each(['the same', 'other'])('goes on behind what others stored in its way, where that is %s', async (kind) => {
    const content = randomBytes(2 * slotBytes);
    const upload = await create(content.length, { protocol: 'tus', layout: 'planned' });
    // It comes in pieces of 1,000 bytes: the first one's commit takes the offset to the end of the second.
    await core.deps.records.markCareful({ uploadId: upload.id, fragmentBytes: 1000, forMs: 60_000 });
    await write(upload, 1000, content.subarray(1000, 2000));
    const sent = Buffer.from(content);
    if (kind === 'other') sent[1500]! ^= 1;
    const append = write(upload, 0, sent, { mode: 'append', isExact: true });
    if (kind === 'the same') {
      await append;
      await expectObject(upload, content);
    } else {
      expect(await failureOf(append)).toMatchObject({ details: { conflict: 'differs', first: 1000 } });
      expect((await core.find(upload)).offset).toBe(2000);
    }
  });
});

test('an upload that is aborted leaves no fragments', async () => {
  const upload = await create(3 * slotBytes);
  await write(upload, 500, randomBytes(1000));
  expect(await leftovers(upload)).toEqual({ fragments: 1, objects: 1 });
  await abortUpload(core.deps, principal, upload.id);
  await new Reaper(core.deps, { onFault: () => undefined, onBug: expect.fail }).round();
  expect(await leftovers(upload)).toEqual({ fragments: 0, objects: 0 });
});

describe('a size that is told late', () => {
  test('refuses what was under way beyond it, and the rest completes', async () => {
    const content = randomBytes(1000);
    const upload = await create(undefined, { isSelfCompleting: false });
    await write(upload, 0, content);
    const held = Promise.withResolvers<void>();
    const reached = Promise.withResolvers<void>();
    core.records.next('commitFragment', async (proceed) => {
      reached.resolve();
      await held.promise;
      return proceed();
    });
    const beyond = failureOf(write(upload, 1000, randomBytes(100)));
    await reached.promise;
    const told = tellSize(core.deps, { principal, upload, totalBytes: 1000, completes: false });
    expect((await told).sizeBytes).toBe(1000);
    held.resolve();
    expect((await beyond).details.conflict).toBe('size');
    await tellSize(core.deps, { principal, upload, totalBytes: 1000, completes: true });
    await expectObject(upload, content);
  });

  test('leaves the completion to the reaper where the process dies', async () => {
    const content = randomBytes(1000);
    const upload = await create(undefined);
    await write(upload, 0, content);
    await tellSize(core.deps, { principal, upload, totalBytes: 1000, completes: false }).catch(() => undefined);
    await core.db.query("update uploads set work_due = now() - interval '1 second' where work_due is not null");
    await new Reaper(core.deps, { onFault: () => undefined, onBug: expect.fail }).round();
    await expectObject(upload, content);
  });
});

test('a part whose lease ran out does not replace fragments that came after', async () => {
  const content = randomBytes(slotBytes);
  const upload = await create(slotBytes);
  const reached = Promise.withResolvers<void>();
  const held = Promise.withResolvers<void>();
  core.records.next('commitRangePart', async (proceed) => {
    reached.resolve();
    await held.promise;
    return proceed();
  });
  const late = failureOf(write(upload, 0, content));
  await reached.promise;
  await core.db.query("update parts set attempt_until = now() - interval '1 second' where upload_id = $1", [upload.id]);
  await write(upload, 0, content.subarray(0, 1000));
  held.resolve();
  expect((await late).code).toBe('busy');
  expect((await core.find(upload)).contiguousParts).toBe(0);
  await write(upload, 1000, content.subarray(1000));
  await expectObject(upload, content);
});
