import { createHash, randomBytes } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { abortUpload } from '../../src/core/abort.ts';
import type { Deps } from '../../src/core/deps.ts';
import { type StoredPart, StoreError } from '../../src/core/object-store.ts';
import { type ReportedPart, reportParts } from '../../src/core/report-parts.ts';
import type { Upload } from '../../src/core/upload.ts';
import { CoreUnderTest, codeOf, failureOf, principal } from './core-under-test.ts';

let core: CoreUnderTest;
beforeAll(async () => {
  core = await CoreUnderTest.open();
});
afterAll(() => core[Symbol.asyncDispose]());
afterEach(() => core.reset());

function addressOf(upload: Upload) {
  return { bucket: upload.bucket, key: upload.storeKey, storeUploadId: upload.storeUploadId! };
}

/** A client's PUT straight to the store. */
async function putAtStore(upload: Upload, partNumber: number, content: Buffer): Promise<StoredPart> {
  const sizeBytes = content.length;
  const { etag } = await core.deps.store.uploadPart({ ...addressOf(upload), partNumber, body: content, sizeBytes });
  return { partNumber, etag, sizeBytes };
}

function report(upload: Upload, parts: readonly ReportedPart[], deps: Deps = core.deps): Promise<Upload> {
  return reportParts(deps, { principal, uploadId: upload.id, parts });
}

/** A store whose ETags are the MD5 of a part's content, as S3's are. */
function withMd5Etags(listed: readonly StoredPart[]): Deps {
  core.store.next('listParts', async function* () {
    yield* listed;
  });
  const { store } = core.deps;
  const capabilities = { ...store.capabilities, etagIsMd5: true };
  const real = new Proxy(store, {
    get: (target, name) => (name === 'capabilities' ? capabilities : Reflect.get(target, name)),
  });
  return { ...core.deps, store: real };
}

describe('parts that went straight to the store', () => {
  it('are put on record as its list shows them, and complete the upload', async () => {
    const content = randomBytes(core.partSizeBytes + 9);
    const upload = await core.create({ sizeBytes: content.length });
    const parts = [
      await putAtStore(upload, 1, content.subarray(0, core.partSizeBytes)),
      await putAtStore(upload, 2, content.subarray(core.partSizeBytes)),
    ];
    core.store.calls.length = 0;
    const reported = await report(upload, parts);
    expect(reported).toMatchObject({ receivedBytes: content.length, offset: content.length, contiguousParts: 2 });
    expect(core.store.calls).toEqual(['listParts']);
    expect(await core.findPart(upload, 2)).toEqual({
      ...parts[1],
      offset: core.partSizeBytes,
      digests: {},
    });
    await core.complete(upload);
    expect((await core.objectOf(upload))?.equals(content)).toBe(true);
  });

  it('count once, however often they are reported, and with ETags with or without quotes', async () => {
    const upload = await core.create({ sizeBytes: 100 });
    const part = await putAtStore(upload, 1, randomBytes(100));
    await report(upload, [part]);
    const again = await report(upload, [{ partNumber: 1, etag: part.etag.replaceAll('"', '') }]);
    expect(again.receivedBytes).toBe(100);
  });

  it('that are not there, or otherwise, are named; the others count', async () => {
    const upload = await core.create({ sizeBytes: 5 * core.partSizeBytes });
    const whole = () => randomBytes(core.partSizeBytes);
    const good = await putAtStore(upload, 1, whole());
    const otherEtag = { ...(await putAtStore(upload, 2, whole())), etag: good.etag };
    const otherSize = { ...(await putAtStore(upload, 3, whole())), sizeBytes: 7 };
    const notItsSlot = await putAtStore(upload, 4, randomBytes(7));
    const absent = { partNumber: 5, etag: good.etag };
    const failure = await failureOf(report(upload, [good, otherEtag, otherSize, notItsSlot, absent]));
    const size = core.partSizeBytes;
    expect(failure).toMatchObject({
      code: 'incomplete',
      details: { missing: [2, 3, 4, 5].map((partNumber) => ({ partNumber, offset: (partNumber - 1) * size, size })) },
    });
    expect(await core.find(upload)).toMatchObject({ receivedBytes: size, contiguousParts: 1 });
  });

  it('beyond the end of the upload are named without a place', async () => {
    const upload = await core.create({ sizeBytes: 100 });
    const part = await putAtStore(upload, 2, randomBytes(10));
    expect((await failureOf(report(upload, [part]))).details).toEqual({ missing: [{ partNumber: 2 }] });
  });

  it('with numbers that no store takes are refused without a call to it', async () => {
    const upload = await core.create();
    core.store.calls.length = 0;
    for (const partNumber of [0, 10_001]) {
      expect(await codeOf(report(upload, [{ partNumber, etag: 'e' }]))).toBe('limit_exceeded');
    }
    expect(core.store.calls).toEqual([]);
  });

  it('may not reach beyond the largest upload allowed', async () => {
    const upload = await core.create({ partSizeBytes: core.partSizeBytes });
    const part = await putAtStore(upload, 1, randomBytes(core.partSizeBytes));
    const settings = { ...core.deps.settings, maxSizeBytes: core.partSizeBytes - 1 };
    expect(await codeOf(report(upload, [part], { ...core.deps, settings }))).toBe('limit_exceeded');
    expect((await core.find(upload)).receivedBytes).toBe(0);
  });
});

describe('with an unknown size', () => {
  it('the last part may be short, and fixes it', async () => {
    const upload = await core.create();
    const parts = [
      await putAtStore(upload, 1, randomBytes(core.partSizeBytes)),
      await putAtStore(upload, 2, randomBytes(5)),
    ];
    expect(await report(upload, parts)).toMatchObject({ sizeBytes: core.partSizeBytes + 5, contiguousParts: 2 });
  });

  it('a short part that is not the last of those reported does not', async () => {
    const upload = await core.create();
    const short = await putAtStore(upload, 1, randomBytes(5));
    const whole = await putAtStore(upload, 2, randomBytes(core.partSizeBytes));
    expect((await failureOf(report(upload, [short, whole]))).details).toMatchObject({ missing: [{ partNumber: 1 }] });
    expect((await core.find(upload)).sizeBytes).toBeUndefined();
  });

  it('a short part does not before later ones on record', async () => {
    const upload = await core.create();
    await core.put(upload, 2, randomBytes(core.partSizeBytes));
    const short = await putAtStore(upload, 1, randomBytes(5));
    expect(await codeOf(report(upload, [short]))).toBe('state_conflict');
    expect(await core.find(upload)).toMatchObject({ sizeBytes: undefined, receivedBytes: core.partSizeBytes });
  });
});

describe('in the free layout', () => {
  it('parts have the sizes that the store shows, and no place', async () => {
    const upload = await core.create({ layout: 'free', partSizeBytes: undefined });
    const part = await putAtStore(upload, 1, randomBytes(123));
    expect(await report(upload, [part])).toMatchObject({ receivedBytes: 123 });
    expect(await core.findPart(upload, 1)).toMatchObject({ sizeBytes: 123, offset: undefined });
  });

  it('parts may not be more than the declared size together', async () => {
    const upload = await core.create({ layout: 'free', partSizeBytes: undefined, sizeBytes: 100 });
    const part = await putAtStore(upload, 1, randomBytes(101));
    expect(await codeOf(report(upload, [part]))).toBe('part_size_mismatch');
    expect((await core.find(upload)).receivedBytes).toBe(0);
  });
});

describe('a stated MD5', () => {
  const content = Buffer.from('content');
  const md5 = createHash('md5').update(content).digest();
  const listed = { partNumber: 1, etag: `"${md5.toString('hex')}"`, sizeBytes: content.length };

  it('is kept where the ETag proves it', async () => {
    const upload = await core.create({ sizeBytes: content.length });
    const stated = { ...listed, digests: { md5: md5.toString('base64'), crc32: 'AAAAAA==' } };
    await report(upload, [stated], withMd5Etags([listed]));
    const { digests } = (await core.findPart(upload, 1))!;
    expect(digests).toEqual({ md5: md5.toString('base64') });
  });

  it('is not kept where the ETag says otherwise, or says nothing', async () => {
    const other = await core.create({ sizeBytes: content.length });
    const wrong = { ...listed, digests: { md5: createHash('md5').digest('base64') } };
    await report(other, [wrong], withMd5Etags([listed])).catch(() => undefined);
    expect((await core.findPart(other, 1))?.digests ?? {}).toEqual({});
    const opaque = await core.create({ sizeBytes: content.length });
    const part = await putAtStore(opaque, 1, content);
    await report(opaque, [{ ...part, digests: { md5: md5.toString('base64') } }]);
    expect((await core.findPart(opaque, 1))?.digests).toEqual({});
  });
});

describe('a report that meets', () => {
  it('an upload that the store has dropped ends it as lost', async () => {
    const upload = await core.create({ sizeBytes: 100 });
    await core.deps.store.abortMultipartUpload(addressOf(upload));
    expect(await codeOf(report(upload, [{ partNumber: 1, etag: 'e' }]))).toBe('upload_gone');
    expect(await core.find(upload)).toMatchObject({ state: 'aborted', reason: 'lost' });
  });

  it('a store that does not answer records nothing', async () => {
    const upload = await core.create({ sizeBytes: 100 });
    const part = await putAtStore(upload, 1, randomBytes(100));
    core.store.next('listParts', () => {
      throw new StoreError('unavailable', 'the line was cut');
    });
    expect(await codeOf(report(upload, [part]))).toBe('store_unavailable');
    expect(await core.find(upload)).toMatchObject({ state: 'open', receivedBytes: 0 });
    expect((await report(upload, [part])).receivedBytes).toBe(100);
  });

  it('an abort after the list was had records nothing', async () => {
    const upload = await core.create({ sizeBytes: 100 });
    const part = await putAtStore(upload, 1, randomBytes(100));
    core.records.next('adoptParts', async (proceed) => {
      await abortUpload(core.elsewhere(), principal, upload.id);
      return proceed();
    });
    expect(await codeOf(report(upload, [part]))).toBe('upload_gone');
    expect(await core.findPart(upload, 1)).toBeUndefined();
  });

  it('an attempt that died at the same part takes its place, and doubts it', async () => {
    const content = randomBytes(100);
    const upload = await core.create({ sizeBytes: content.length });
    const dead = { uploadId: upload.id, tenant: 'default', partNumber: 1, attemptId: 'dead', leaseMs: 0 };
    await core.deps.records.beginAttempt(dead);
    const reported = await report(upload, [await putAtStore(upload, 1, content)]);
    expect(reported.receivedBytes).toBe(content.length);
    expect(await core.findPart(upload, 1)).toMatchObject({ isDoubtful: true });
    await core.complete(upload);
    expect((await core.objectOf(upload))?.equals(content)).toBe(true);
  });

  it('an attempt that lives at one of its parts is told to come again, and records none', async () => {
    const upload = await core.create({ sizeBytes: 2 * core.partSizeBytes });
    const live = { uploadId: upload.id, tenant: 'default', partNumber: 2, attemptId: 'live', leaseMs: 60_000 };
    await core.deps.records.beginAttempt(live);
    const whole = () => randomBytes(core.partSizeBytes);
    const parts = [await putAtStore(upload, 1, whole()), await putAtStore(upload, 2, whole())];
    expect(await codeOf(report(upload, parts))).toBe('busy');
    expect((await core.find(upload)).receivedBytes).toBe(0);
    await core.deps.records.dropAttempt({ ...live, uncertain: false });
    expect((await report(upload, parts)).receivedBytes).toBe(2 * core.partSizeBytes);
  });

  it('the same part twice is refused', async () => {
    const upload = await core.create({ sizeBytes: 100 });
    const part = await putAtStore(upload, 1, randomBytes(100));
    expect(await codeOf(report(upload, [part, part]))).toBe('invalid_request');
  });

  it('a part that was sent through us since the list was had leaves that one', async () => {
    const upload = await core.create({ sizeBytes: 100 });
    const direct = await putAtStore(upload, 1, randomBytes(100));
    const content = randomBytes(100);
    core.records.next('adoptParts', async (proceed) => {
      await core.put(upload, 1, content);
      return proceed();
    });
    await report(upload, [direct]);
    await core.complete(upload);
    expect((await core.objectOf(upload))?.equals(content)).toBe(true);
  });
});
