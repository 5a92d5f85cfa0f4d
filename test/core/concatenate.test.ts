import { randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { abortUpload } from '../../src/core/abort.ts';
import { concatenate } from '../../src/core/concatenate.ts';
import type { Deps } from '../../src/core/deps.ts';
import { UploadError } from '../../src/core/errors.ts';
import { joinSources } from '../../src/core/join-sources.ts';
import { type ObjectStore, StoreError, type StoreLimits } from '../../src/core/object-store.ts';
import type { Upload } from '../../src/core/upload.ts';
import { CoreUnderTest, codeOf, crc32Of, principal } from './core-under-test.ts';

let core: CoreUnderTest;

beforeAll(async () => {
  core = await CoreUnderTest.open();
});

afterAll(async () => {
  await core?.[Symbol.asyncDispose]();
});

beforeEach(() => core.reset());

/** A partial upload, completed. */
async function partialOf(content: Buffer): Promise<Upload> {
  const partial = await core.create({
    protocol: 'tus',
    sizeBytes: content.length,
    partSizeBytes: 8192,
    isPartial: true,
  });
  if (content.length > 0) await core.put(partial, 1, content);
  await core.complete(partial);
  return core.find(partial);
}

/** Once nobody in this process is at work on it any more. */
async function join(sources: readonly Upload[], deps: Deps = core.deps): Promise<Upload> {
  const key = `${randomBytes(8).toString('hex')}.bin`;
  const opened = await concatenate(deps, { principal, protocol: 'tus', key, sources });
  await deps.joins.whenIdle();
  return core.find(opened);
}

/** One whose store failed in the middle: open, and nobody is at work on it. */
async function leftOpen(sources: readonly Upload[]): Promise<Upload> {
  core.store.always('copyPart', () => Promise.reject(new StoreError('unavailable', 'no')));
  const left = await join(sources);
  core.store.reset();
  expect(left.state).toBe('open');
  return left;
}

async function expectMade(upload: Upload, contents: readonly Buffer[]): Promise<void> {
  expect((await core.find(upload)).state).toBe('completed');
  expect((await core.objectOf(upload))?.equals(Buffer.concat(contents))).toBe(true);
}

const limited = (limits: Partial<StoreLimits>): Deps => ({
  ...core.deps,
  store: Object.create(core.deps.store, {
    limits: { value: { ...core.deps.store.limits, ...limits } },
  }) as ObjectStore,
});

const contents = [3000, 500, 524, 2000].map((size) => randomBytes(size));

describe('concatenate', () => {
  it('keeps the CRC-32 of each part, without reading what is copied', async () => {
    const sources = await Promise.all(contents.map(partialOf));
    core.reset();
    const made = await join(sources);
    await expectMade(made, contents);
    const [a, b, c, d] = contents;
    const crcs = await Promise.all([1, 2, 3].map(async (number) => (await core.findPart(made, number))?.digests.crc32));
    expect(crcs).toEqual([a!, Buffer.concat([b!, c!]), d!].map(crc32Of));
    expect(core.store.calls.filter((call) => call === 'copyPart')).toHaveLength(2);
  });

  it.each(['equal parts', 'few parts'])('is possible where the store wants %s', async (what) => {
    const deps = limited(what === 'equal parts' ? { equalParts: true } : { maxParts: 3 });
    await expectMade(await join(await Promise.all(contents.map(partialOf)), deps), contents);
  });

  it('refuses what would have too many bytes or parts, before there is anything of it', async () => {
    const sources = await Promise.all(contents.map(partialOf));
    core.reset();
    const small = { ...core.deps, settings: { ...core.deps.settings, maxSizeBytes: 6023 } };
    expect(await codeOf(join(sources, small))).toBe('limit_exceeded');
    expect(await codeOf(join(sources, limited({ maxParts: 2 })))).toBe('limit_exceeded');
    expect(core.records.calls).not.toContain('insert');
  });

  it('makes few parts at once, of one upload and of all', async () => {
    const pieces = Array.from({ length: 10 }, () => randomBytes(1024));
    const sources = await Promise.all(pieces.map(partialOf));
    for (const [finals, expected] of [
      [1, 4],
      [8, 16],
    ] as const) {
      let [now, most] = [0, 0];
      const reached = Promise.withResolvers<void>();
      core.store.always('copyPart', async (proceed) => {
        most = Math.max(most, ++now);
        if (now === expected) {
          // One more would come while these take their time.
          for (let n = 0; n < 20; n++) await core.db.query('select 1');
          reached.resolve();
        }
        await reached.promise;
        return proceed().finally(() => now--);
      });
      // Each with a clock of its own: the time that one waits would end the leases of the others.
      const process = () => ({ ...core.elsewhere(), joins: core.deps.joins });
      const made = await Promise.all(Array.from({ length: finals }, () => join(sources, process())));
      for (const each of made) await expectMade(each, pieces);
      expect(most).toBe(expected);
    }
  });
});

describe('joinSources', () => {
  it('goes on where it was left, also when two do so at once', async () => {
    const sources = await Promise.all(contents.map(partialOf));
    const left = await leftOpen(sources);
    await Promise.allSettled([joinSources(core.deps, left), joinSources(core.elsewhere(), left)]);
    // One that met the other's lease leaves it to the next.
    if ((await core.find(left)).state !== 'completed') await joinSources(core.deps, left);
    await expectMade(left, contents);
    expect(
      core.eventsOf('upload_completed').filter((event) => 'upload' in event && event.upload.id === left.id),
    ).toHaveLength(1);
  });

  it('makes no part again that is on record', async () => {
    const sources = await Promise.all(contents.map(partialOf));
    core.store.next(
      'copyPart',
      (proceed) => proceed(),
      () => Promise.reject(new StoreError('unavailable', 'no')),
    );
    const left = await join(sources);
    core.reset();
    await joinSources(core.deps, left);
    expect(core.store.calls.filter((call) => call === 'copyPart')).toHaveLength(1);
    expect(core.store.calls).not.toContain('uploadPart');
    await expectMade(left, contents);
  });

  it('goes on where the answer to a copy was lost', async () => {
    const sources = await Promise.all(contents.map(partialOf));
    core.store.always('copyPart', async (proceed) => {
      await proceed();
      throw new StoreError('unavailable', 'reset');
    });
    const left = await join(sources);
    core.reset();
    await joinSources(core.deps, left);
    await expectMade(left, contents);
  });

  it('stores nothing that was read wrong', async () => {
    const sources = await Promise.all(contents.map(partialOf));
    core.store.next('getObject', async (proceed) => {
      const object = await proceed();
      const bytes = Buffer.concat(await object.body.toArray());
      bytes[7]! ^= 1;
      return { ...object, body: Readable.from([bytes], { objectMode: false }) };
    });
    const left = await join(sources);
    expect(left.state).toBe('open');
    expect(await core.findPart(left, 2)).toBeUndefined();
    await joinSources(core.deps, left);
    await expectMade(left, contents);
  });

  it('is for others to go on with at once where the process stops', async () => {
    const left = await leftOpen(await Promise.all(contents.map(partialOf)));
    const halt = new AbortController();
    core.store.next('copyPart', () => {
      halt.abort(new UploadError('overloaded', 'The gateway is stopping.'));
      return Promise.reject(halt.signal.reason as Error);
    });
    expect(await codeOf(joinSources({ ...core.deps, halted: halt.signal }, left))).toBe('overloaded');
    const due = await core.deps.records.claimWork({ leaseMs: 1, limit: 100 });
    expect(due.map(({ id }) => id)).toContain(left.id);
    await joinSources(core.deps, left);
    await expectMade(left, contents);
  });

  it('ends where the upload is aborted meanwhile', async () => {
    const sources = await Promise.all(contents.map(partialOf));
    const left = await leftOpen(sources);
    core.store.next('copyPart', async (proceed) => {
      await abortUpload(core.deps, principal, left.id);
      return proceed();
    });
    expect(await codeOf(joinSources(core.deps, left))).toBe('upload_gone');
    expect((await core.find(left)).state).toBe('aborted');
    expect(await core.objectOf(left)).toBeUndefined();
  });

  it('waits for a source that is not completed, and aborts where one ends without an object', async () => {
    const [first] = await Promise.all(contents.map(partialOf));
    const second = await core.create({ protocol: 'tus', sizeBytes: 4, partSizeBytes: 8192, isPartial: true });
    const waiting = await join([first!, second]);
    expect(waiting).toMatchObject({ state: 'open', sizeBytes: 3004 });
    await joinSources(core.deps, waiting);
    expect((await core.find(waiting)).state).toBe('open');
    await abortUpload(core.deps, principal, second.id);
    expect(await codeOf(joinSources(core.deps, waiting))).toBe('upload_gone');
    expect(await core.find(waiting)).toMatchObject({ state: 'aborted', reason: 'not_joined' });
  });
});
