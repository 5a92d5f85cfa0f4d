import { createHash, randomBytes } from 'node:crypto';
import type { Readable } from 'node:stream';
import type { createStore } from '../../create-store.ts';
import type { Section } from './section.ts';

type Store = ReturnType<typeof createStore>;

const MiB = 1024 ** 2;
const sizeBytes = 5 * MiB;
/** Of each call: a store may take long to complete. */
const callDeadlineMs = 30_000;

export interface Place {
  readonly bucket: string;
  readonly stagingPrefix: string;
}

/** One small object makes its way through the store and is deleted again, by the calls that uploads are made of. */
export async function checkRoundTrip(section: Section, store: Store, { bucket, stagingPrefix }: Place): Promise<void> {
  const object = { bucket, key: `${stagingPrefix}doctor-${randomBytes(8).toString('hex')}` };
  const content = randomBytes(sizeBytes);
  try {
    const inMs = await timed(() => upload(store, object, content));
    const outMs = await timed(async () => {
      const { body } = await store.getObject(object, deadline());
      if (!(await bytesOf(body)).equals(content)) throw new Error('what was read back is not what was stored');
    });
    const rate = (ms: number) => Number((sizeBytes / MiB / (ms / 1000)).toPrecision(3));
    const [inRate, outRate] = [rate(inMs), rate(outMs)];
    section.ok('round_trip', `5 MiB went in at ${inRate} MiB/s and came back the same at ${outRate} MiB/s`, {
      inMiBPerSecond: inRate,
      outMiBPerSecond: outRate,
    });
    await checkAbilities(section, store, object);
  } finally {
    await store.deleteObjects({ bucket, keys: [object.key] }, deadline());
  }
}

type ObjectAddress = Parameters<Store['headObject']>[0];

async function upload(store: Store, object: ObjectAddress, content: Buffer): Promise<void> {
  const { storeUploadId } = await store.createMultipartUpload({ ...object, metadata: {} }, deadline());
  const address = { ...object, storeUploadId };
  try {
    const part = await store.uploadPart(
      { ...address, partNumber: 1, body: content, sizeBytes: content.length },
      deadline(),
    );
    await store.completeMultipartUpload({ ...address, parts: [{ partNumber: 1, etag: part.etag }] }, deadline());
  } catch (error) {
    await store.abortMultipartUpload(address, deadline()).catch(() => undefined);
    throw error;
  }
}

/** What stores differ in, seen on an upload to the key of an object that is there. */
async function checkAbilities(section: Section, store: Store, object: ObjectAddress): Promise<void> {
  const { storeUploadId } = await store.createMultipartUpload({ ...object, metadata: {} }, deadline());
  const address = { ...object, storeUploadId, partNumber: 1 };
  try {
    await checkDigests(section, store, address);
    await checkPresigning(section, store, address);
    const etag = await checkCopy(section, store, address, object);
    if (etag !== undefined) await checkConditionalComplete(section, store, { ...address, etag });
  } finally {
    await store.abortMultipartUpload(address, deadline()).catch(() => undefined);
  }
}

type PartAddress = ObjectAddress & { readonly storeUploadId: string; readonly partNumber: number };

async function checkDigests(section: Section, store: Store, address: PartAddress): Promise<void> {
  if (!store.capabilities.verifies.has('md5')) {
    return section.note('digests', 'it verifies no checksums: the gateway does');
  }
  const contentMd5 = createHash('md5').update('another').digest('base64');
  const kind = await kindOfFailure(() =>
    store.uploadPart({ ...address, body: Buffer.from('one'), sizeBytes: 3, contentMd5 }, deadline()),
  );
  if (kind === 'digest_mismatch') section.ok('digests', 'it refuses a part whose Content-MD5 is wrong');
  else section.fault('digests', 2, 'it takes a part whose Content-MD5 is wrong: parts that came garbled would stay so');
}

async function checkPresigning(section: Section, store: Store, address: PartAddress): Promise<void> {
  if (!store.capabilities.presigns)
    return section.note('presigning', 'it signs no URLs: all parts go through the gateway');
  const { url, headers } = await store.presignUploadPart({ ...address, sizeBytes: 3, expiresInSeconds: 60 });
  const { signal } = deadline();
  const status = await fetch(url, { method: 'PUT', headers, body: 'one', signal }).then(
    (answer) => answer.status,
    () => undefined,
  );
  if (status === 200) section.ok('presigning', 'it takes parts by signed URLs');
  else section.warn('presigning', `a part by a signed URL is answered with ${status ?? 'nothing'}: sign no parts here`);
}

async function checkCopy(
  section: Section,
  store: Store,
  address: PartAddress,
  source: ObjectAddress,
): Promise<string | undefined> {
  try {
    const { etag } = await store.copyPart({ ...address, source }, deadline());
    section.ok('copy', 'it makes parts of objects that it has');
    return etag;
  } catch (error) {
    section.note('copy', `it makes no parts of objects that it has: ${error instanceof Error ? error.message : error}`);
    return undefined;
  }
}

async function checkConditionalComplete(
  section: Section,
  store: Store,
  { etag, partNumber, ...address }: PartAddress & { readonly etag: string },
): Promise<void> {
  const kind = await kindOfFailure(() =>
    store.completeMultipartUpload({ ...address, parts: [{ partNumber, etag }], ifNoneMatch: true }, deadline()),
  );
  if (kind === 'precondition_failed')
    section.ok('conditional_complete', 'it completes only where no object is, if told to');
  else section.warn('conditional_complete', 'it replaces an object even if told not to (If-None-Match)');
}

/** `undefined`: none. */
async function kindOfFailure(call: () => Promise<unknown>): Promise<unknown> {
  try {
    await call();
    return undefined;
  } catch (error) {
    if (error instanceof Error && 'kind' in error) return error.kind;
    throw error;
  }
}

function deadline(): { readonly signal: AbortSignal } {
  return { signal: AbortSignal.timeout(callDeadlineMs) };
}

async function timed(work: () => Promise<void>): Promise<number> {
  const began = performance.now();
  await work();
  return performance.now() - began;
}

async function bytesOf(body: Readable): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of body) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}
