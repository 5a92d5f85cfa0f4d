import { randomBytes } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { completeUpload } from '../../src/core/complete.ts';
import { UploadError } from '../../src/core/errors.ts';
import { StoreError } from '../../src/core/object-store.ts';
import type { Upload } from '../../src/core/upload.ts';
import { CoreUnderTest, codeOf, crc32Of, failureOf, principal } from './core-under-test.ts';

let core: CoreUnderTest;
beforeAll(async () => {
  core = await CoreUnderTest.open();
});
afterAll(() => core[Symbol.asyncDispose]());
afterEach(() => core.reset());

const noAnswer = () => new StoreError('unavailable', 'the line was cut');
const recordsGone = () => new UploadError('records_unavailable', 'gone');

function addressOf(upload: Upload) {
  return { bucket: upload.bucket, key: upload.storeKey, storeUploadId: upload.storeUploadId! };
}

/** Somebody else's part takes the place of the recorded one. */
function replaceAtStore(upload: Upload, partNumber: number, sizeBytes = core.partSizeBytes): Promise<unknown> {
  const body = randomBytes(sizeBytes);
  return core.deps.store.uploadPart({ ...addressOf(upload), partNumber, body, sizeBytes });
}

async function claimAndDie(upload: Upload): Promise<void> {
  const claim = await core.deps.records.claimCompletion({ id: upload.id, claimId: 'dead', leaseMs: 60_000 });
  expect(claim.kind).toBe('claimed');
  await core.expireClaim(upload);
}

async function expectCompleted(upload: Upload, content: Buffer): Promise<void> {
  const outcome = await core.complete(upload);
  expect(outcome).toMatchObject({ kind: 'completed', upload: { state: 'completed', sizeBytes: content.length } });
  expect((await core.objectOf(upload))?.equals(content)).toBe(true);
  expect(core.eventsOf('upload_completed')).toHaveLength(1);
}

function completeCalls(): number {
  return core.store.calls.filter((name) => name === 'completeMultipartUpload').length;
}

describe('when the store answers', () => {
  it('makes the object of all parts, with one call and no listing', async () => {
    const { upload, content } = await core.uploaded(2);
    core.store.calls.length = 0;
    await expectCompleted(upload, content);
    expect(core.store.calls.slice(0, 1)).toEqual(['completeMultipartUpload']);
    expect(core.store.calls).not.toContain('listParts');
  });

  it('gives a repeat the same answer without asking the store', async () => {
    const { upload } = await core.uploaded(1);
    const first = await core.complete(upload);
    core.store.calls.length = 0;
    expect(await core.complete(upload)).toEqual(first);
    expect(core.store.calls).toEqual([]);
  });

  it('takes the ETag from the object where the answer has none', async () => {
    const { upload, content } = await core.uploaded(1);
    core.store.next('completeMultipartUpload', async (proceed) => {
      await proceed();
      return { etag: '' };
    });
    await expectCompleted(upload, content);
    expect((await core.find(upload)).etag).toBe(
      (await core.deps.store.headObject({ bucket: upload.bucket, key: upload.storeKey }))?.etag,
    );
    expect(completeCalls()).toBe(1);
  });

  it('asks again when an answer without ETag made no object', async () => {
    const { upload, content } = await core.uploaded(1);
    core.store.next('completeMultipartUpload', async () => ({ etag: '' }));
    await expectCompleted(upload, content);
    expect(completeCalls()).toBe(2);
  });

  it('makes an empty object of an upload of 0 bytes', async () => {
    const upload = await core.create({ sizeBytes: 0 });
    await expectCompleted(upload, Buffer.alloc(0));
  });

  it('renews its claim for as long as the store takes', async () => {
    const { upload } = await core.uploaded(1);
    core.store.next('completeMultipartUpload', async (proceed) => {
      core.clock.advance(core.deps.settings.leaseMs);
      return proceed();
    });
    await core.complete(upload);
    // Once before the call, and three times while it goes on.
    expect(core.records.calls.filter((name) => name === 'renewClaim')).toHaveLength(4);
    expect(core.clock.runningTimers).toBe(0);
  });

  it('does not call Complete under a claim that is in other hands', async () => {
    const { upload } = await core.uploaded(1);
    core.records.next('renewClaim', async () => false);
    await expect(core.complete(upload)).rejects.toMatchObject({ code: 'busy' });
    expect(completeCalls()).toBe(0);
  });
});

describe('when the answer is lost', () => {
  it('proves by the object that the store did it', async () => {
    const { upload, content } = await core.uploaded(2);
    core.store.next('completeMultipartUpload', async (proceed) => {
      await proceed();
      throw noAnswer();
    });
    await expectCompleted(upload, content);
    expect(completeCalls()).toBe(1);
  });

  it('asks again when the store did nothing', async () => {
    const { upload, content } = await core.uploaded(2);
    core.store.next('completeMultipartUpload', async () => {
      throw noAnswer();
    });
    await expectCompleted(upload, content);
    expect(core.clock.slept).toEqual([500]);
  });

  it('looks for the object again when it appeared between HEAD and ListParts', async () => {
    const { upload, content } = await core.uploaded(1);
    core.store.next('completeMultipartUpload', async (proceed) => {
      await proceed();
      throw noAnswer();
    });
    core.store.next('headObject', async () => undefined);
    await expectCompleted(upload, content);
  });

  it('stays completing after three tries, for the next caller', async () => {
    const { upload, content } = await core.uploaded(1);
    core.store.always('completeMultipartUpload', async () => {
      throw noAnswer();
    });
    expect(await codeOf(core.complete(upload))).toBe('store_unavailable');
    expect(completeCalls()).toBe(3);
    expect((await core.find(upload)).state).toBe('completing');
    core.reset();
    await expectCompleted(upload, content);
  });

  it('stays completing when the object cannot be looked for either', async () => {
    const { upload, content } = await core.uploaded(1);
    core.store.next('completeMultipartUpload', async (proceed) => {
      await proceed();
      throw noAnswer();
    });
    core.store.next('headObject', async () => {
      throw noAnswer();
    });
    expect(await codeOf(core.complete(upload))).toBe('store_unavailable');
    expect((await core.find(upload)).state).toBe('completing');
    core.reset();
    await expectCompleted(upload, content);
    expect(completeCalls()).toBe(0);
  });

  it('stays completing when ListParts fails', async () => {
    const { upload, content } = await core.uploaded(1);
    core.store.next('completeMultipartUpload', async () => {
      throw noAnswer();
    });
    core.store.next('listParts', () => {
      throw noAnswer();
    });
    expect(await codeOf(core.complete(upload))).toBe('store_unavailable');
    expect((await core.find(upload)).state).toBe('completing');
    core.reset();
    await expectCompleted(upload, content);
  });

  it('finds the object when the records failed to note it', async () => {
    const { upload, content } = await core.uploaded(1);
    core.records.next('finishCompletion', async () => {
      throw recordsGone();
    });
    expect(await codeOf(core.complete(upload))).toBe('records_unavailable');
    expect((await core.find(upload)).state).toBe('completing');
    core.reset();
    await expectCompleted(upload, content);
    expect(completeCalls()).toBe(0);
  });
});

describe('when the store does not know the upload', () => {
  it('completes if the object is ours', async () => {
    const { upload, content } = await core.uploaded(1);
    core.store.next('completeMultipartUpload', async (proceed) => {
      await proceed();
      throw new StoreError('no_such_upload', 'done before');
    });
    await expectCompleted(upload, content);
  });

  it('ends as lost if nothing is at the key', async () => {
    const { upload } = await core.uploaded(1);
    await core.deps.store.abortMultipartUpload(addressOf(upload));
    const failure = await failureOf(core.complete(upload));
    expect(failure).toMatchObject({ code: 'upload_gone', details: { reason: 'lost' } });
    expect(await core.find(upload)).toMatchObject({ state: 'aborted', reason: 'lost' });
    expect(core.eventsOf('upload_aborted')).toHaveLength(1);
    expect(await codeOf(core.complete(upload))).toBe('upload_gone');
  });

  it('ends as lost if the object is of another upload, and leaves that alone', async () => {
    const { upload, content } = await core.uploaded(1);
    const other = randomBytes(content.length);
    const { bucket, key } = addressOf(upload);
    await core.deps.store.putObject({ bucket, key, body: other, sizeBytes: other.length });
    await core.deps.store.abortMultipartUpload(addressOf(upload));
    expect(await codeOf(core.complete(upload))).toBe('upload_gone');
    expect((await core.find(upload)).reason).toBe('lost');
    expect((await core.objectOf(upload))?.equals(other)).toBe(true);
  });

  it('stays completing while the object cannot be looked for', async () => {
    const { upload } = await core.uploaded(1);
    await core.deps.store.abortMultipartUpload(addressOf(upload));
    core.store.always('headObject', async () => {
      throw noAnswer();
    });
    expect(await codeOf(core.complete(upload))).toBe('store_unavailable');
    expect((await core.find(upload)).state).toBe('completing');
  });

  it('ends as lost if it was of 0 bytes', async () => {
    const upload = await core.create({ sizeBytes: 0 });
    await core.deps.store.abortMultipartUpload(addressOf(upload));
    expect(await codeOf(core.complete(upload))).toBe('upload_gone');
    expect((await core.find(upload)).reason).toBe('lost');
  });
});

describe('when the store refuses', () => {
  it('reopens the upload, and says so', async () => {
    const { upload, content } = await core.uploaded(1);
    for (const [kind, code] of [
      ['refused', 'store_refused'],
      ['full', 'store_full'],
    ] as const) {
      core.store.next('completeMultipartUpload', async () => {
        throw new StoreError(kind, 'no');
      });
      expect(await codeOf(core.complete(upload))).toBe(code);
      expect((await core.find(upload)).state).toBe('open');
    }
    await expectCompleted(upload, content);
  });

  it('forgets a part that the store holds otherwise, and takes it again', async () => {
    const { upload, content, parts } = await core.uploaded(3);
    await replaceAtStore(upload, 2);
    const failure = await failureOf(core.complete(upload));
    expect(failure.code).toBe('incomplete');
    expect(failure.details.missing).toEqual([{ partNumber: 2, offset: core.partSizeBytes, size: core.partSizeBytes }]);
    expect(core.eventsOf('part_differs')).toMatchObject([{ partNumber: 2 }]);
    expect(await core.find(upload)).toMatchObject({
      state: 'open',
      offset: core.partSizeBytes,
      contiguousParts: 1,
      receivedBytes: content.length - parts[1]!.sizeBytes,
    });
    await core.put(upload, 2, content.subarray(core.partSizeBytes, 2 * core.partSizeBytes));
    await expectCompleted(upload, content);
  });

  it('reopens the upload when it refuses parts that its own list shows', async () => {
    const { upload, content } = await core.uploaded(1);
    core.store.next('completeMultipartUpload', async () => {
      throw new StoreError('invalid_part', 'no');
    });
    expect(await codeOf(core.complete(upload))).toBe('incomplete');
    expect(await core.find(upload)).toMatchObject({ state: 'open', receivedBytes: content.length });
    await expectCompleted(upload, content);
  });

  it.each(['invalid_part', 'part_too_small'] as const)(
    'names the parts that are stored but not on record, where it refuses with %s',
    async (kind) => {
      const { upload, content } = await core.uploaded(2);
      for (const partNumber of [3, 5]) await replaceAtStore(upload, partNumber);
      core.store.next('completeMultipartUpload', async () => {
        throw new StoreError(kind, 'a part is not named');
      });
      const failure = await failureOf(core.complete(upload));
      expect(failure).toMatchObject({ code: 'state_conflict', details: { unlisted: [3, 5] } });
      expect(await core.find(upload)).toMatchObject({ state: 'open', receivedBytes: content.length });
      await expectCompleted(upload, content);
    },
  );

  it('opens an upload with such parts again, though an earlier Complete is of unknown fate', async () => {
    const { upload, content } = await core.uploaded(2);
    await replaceAtStore(upload, 3);
    await claimAndDie(upload);
    core.store.next('completeMultipartUpload', async () => {
      throw new StoreError('invalid_part', 'a part is not named');
    });
    expect(await codeOf(core.complete(upload))).toBe('state_conflict');
    expect((await core.find(upload)).state).toBe('open');
    await expectCompleted(upload, content);
  });

  it('refuses to replace an object under If-None-Match', async () => {
    const { upload } = await core.uploaded(1, { ifNoneMatch: true });
    const other = Buffer.from('first');
    const { bucket, key } = addressOf(upload);
    await core.deps.store.putObject({ bucket, key, body: other, sizeBytes: other.length });
    expect(await codeOf(core.complete(upload))).toBe('precondition_failed');
    expect((await core.find(upload)).state).toBe('open');
    expect((await core.objectOf(upload))?.equals(other)).toBe(true);
  });

  it('knows its own object when If-None-Match finds it after a lost answer', async () => {
    const { upload, content } = await core.uploaded(1, { ifNoneMatch: true });
    core.store.next('completeMultipartUpload', async (proceed) => {
      await proceed();
      throw new StoreError('precondition_failed', 'there is one');
    });
    await expectCompleted(upload, content);
  });
});

describe('checks before the store is asked', () => {
  it('names the parts of a free layout that are too small', async () => {
    const upload = await core.create({ layout: 'free', partSizeBytes: undefined });
    await core.put(upload, 1, randomBytes(10));
    await core.put(upload, 2, randomBytes(10));
    const failure = await failureOf(core.complete(upload));
    expect(failure).toMatchObject({ code: 'part_size_mismatch', details: { partNumbers: [1] } });
    expect(completeCalls()).toBe(0);
    const content = randomBytes(core.partSizeBytes);
    await core.put(upload, 1, content);
    const outcome = await core.complete(upload);
    expect(outcome).toMatchObject({ kind: 'completed', upload: { sizeBytes: content.length + 10 } });
  });

  it('combines the CRCs of the parts into the declared one', async () => {
    const content = randomBytes(core.partSizeBytes + 9);
    const right = { algorithm: 'crc32', value: crc32Of(content) } as const;
    const upload = await core.create({ sizeBytes: content.length, digest: right });
    await core.put(upload, 1, content.subarray(0, core.partSizeBytes));
    await core.put(upload, 2, content.subarray(core.partSizeBytes));
    await expectCompleted(upload, content);
  });

  it('reopens the upload when the declared digest is another', async () => {
    const content = randomBytes(100);
    const digest = { algorithm: 'crc32', value: crc32Of(Buffer.from('another')) } as const;
    const upload = await core.create({ sizeBytes: content.length, digest });
    await core.put(upload, 1, content);
    const failure = await failureOf(core.complete(upload));
    expect(failure).toMatchObject({ code: 'digest_mismatch', details: { actual: crc32Of(content) } });
    expect((await core.find(upload)).state).toBe('open');
    expect(completeCalls()).toBe(0);
  });

  it('says that a digest cannot be checked where parts were stored without one', async () => {
    const { upload } = await core.uploaded(1);
    const digest = { algorithm: 'crc32', value: 'AAAAAA==' } as const;
    const work = completeUpload(core.deps, { principal, uploadId: upload.id, digest });
    expect(await codeOf(work)).toBe('invalid_request');
    expect((await core.find(upload)).state).toBe('open');
  });

  it('holds the whole to the digest declared at its creation, whatever complete declares', async () => {
    const content = randomBytes(100);
    const digest = { algorithm: 'crc32', value: crc32Of(Buffer.from('another')) } as const;
    const upload = await core.create({ sizeBytes: content.length, digest });
    await core.put(upload, 1, content);
    const right = { algorithm: 'crc32', value: crc32Of(content) } as const;
    const work = completeUpload(core.deps, { principal, uploadId: upload.id, digest: right });
    expect(await codeOf(work)).toBe('digest_mismatch');
  });

  it('holds a repeat to its digest too', async () => {
    const content = randomBytes(100);
    const right = { algorithm: 'crc32', value: crc32Of(content) } as const;
    const upload = await core.create({ sizeBytes: content.length, digest: right });
    await core.put(upload, 1, content);
    await core.complete(upload);
    const wrong = { algorithm: 'crc32', value: crc32Of(Buffer.from('another')) } as const;
    const repeat = completeUpload(core.deps, { principal, uploadId: upload.id, digest: wrong });
    expect(['digest_mismatch', 'state_conflict']).toContain(await codeOf(repeat));
  });
});

describe('a completion whose owner died', () => {
  it('is found done by its object, without a second Complete', async () => {
    const { upload, content, parts } = await core.uploaded(2);
    await claimAndDie(upload);
    await core.deps.store.completeMultipartUpload({ ...addressOf(upload), parts });
    core.store.calls.length = 0;
    await expectCompleted(upload, content);
    expect(completeCalls()).toBe(0);
  });

  it("is done after the store's list was compared", async () => {
    const { upload, content } = await core.uploaded(2);
    await claimAndDie(upload);
    await expectCompleted(upload, content);
    expect(core.store.calls).toContain('listParts');
  });

  it('is reopened where the list differs', async () => {
    const { upload } = await core.uploaded(2);
    await claimAndDie(upload);
    await replaceAtStore(upload, 1);
    expect(await codeOf(core.complete(upload))).toBe('incomplete');
    expect((await core.find(upload)).state).toBe('open');
  });

  it('is waited for while its claim holds, then answered as pending', async () => {
    const { upload } = await core.uploaded(1);
    await core.deps.records.claimCompletion({ id: upload.id, claimId: 'alive', leaseMs: 60_000 });
    expect(await core.complete(upload)).toMatchObject({ kind: 'pending', upload: { state: 'completing' } });
    expect(core.clock.slept.reduce((sum, ms) => sum + ms, 0)).toBeGreaterThan(20_000);
    expect(completeCalls()).toBe(0);
  });

  it('keeps the digest that its complete declared', async () => {
    const content = randomBytes(100);
    const upload = await core.create({ sizeBytes: content.length });
    await core.put(upload, 1, content, { crc32: crc32Of(content) });
    core.records.next('listParts', async () => {
      throw recordsGone();
    });
    const digest = { algorithm: 'crc32', value: crc32Of(Buffer.from('another')) } as const;
    const first = completeUpload(core.deps, { principal, uploadId: upload.id, digest });
    expect(await codeOf(first)).toBe('records_unavailable');
    expect((await core.find(upload)).state).toBe('completing');
    expect(await codeOf(core.complete(upload))).toBe('digest_mismatch');
    expect(await core.objectOf(upload)).toBeUndefined();
  });
});

describe('two owners', () => {
  it('gives the first the answer of the second who finished', async () => {
    const { upload, content } = await core.uploaded(1);
    core.store.next('completeMultipartUpload', async (proceed) => {
      await core.expireClaim(upload);
      const answer = await proceed();
      const other = core.elsewhere();
      await completeUpload(other, { principal, uploadId: upload.id });
      return answer;
    });
    await expectCompleted(upload, content);
    expect(completeCalls()).toBe(1);
  });

  it('tells the first to try again while the second is at it', async () => {
    const { upload } = await core.uploaded(1);
    core.store.next('completeMultipartUpload', async (proceed) => {
      await core.expireClaim(upload);
      await core.deps.records.takeClaim({ id: upload.id, claimId: 'second', leaseMs: 60_000 });
      return proceed();
    });
    expect(await codeOf(core.complete(upload))).toBe('busy');
    expect((await core.find(upload)).state).toBe('completing');
  });

  it('cannot take a good part out of the record when it comes back late', async () => {
    const { upload, content } = await core.uploaded(2);
    const first = content.subarray(0, core.partSizeBytes);
    await replaceAtStore(upload, 1);
    core.store.next('listParts', async function* (proceed) {
      const stale = await Array.fromAsync(proceed());
      // Another process takes over, sees the same and reopens; the client sends the part again.
      await core.expireClaim(upload);
      expect(await codeOf(completeUpload(core.elsewhere(), { principal, uploadId: upload.id }))).toBe('incomplete');
      await core.put(upload, 1, first);
      yield* stale;
    });
    await failureOf(core.complete(upload));
    expect(await core.find(upload)).toMatchObject({ receivedBytes: content.length, offset: content.length });
  });
});

describe('a hole', () => {
  it('is never completed over, when the records fail between forgetting a part and reopening', async () => {
    const { upload } = await core.uploaded(3);
    await replaceAtStore(upload, 2);
    core.records.always('reopen', async () => {
      throw recordsGone();
    });
    expect(await codeOf(core.complete(upload))).toBe('records_unavailable');
    core.reset();
    await core.expireClaim(upload);
    expect(await codeOf(core.complete(upload))).toBe('incomplete');
    expect(await core.objectOf(upload)).toBeUndefined();
  });

  it('is never completed over, whatever the record has lost since the claim', async () => {
    const { upload } = await core.uploaded(3);
    await claimAndDie(upload);
    await core.db.query('delete from parts where upload_id = $1 and part_number = 2', [upload.id]);
    expect(await codeOf(core.complete(upload))).toBe('incomplete');
    expect(await core.objectOf(upload)).toBeUndefined();
  });
});
