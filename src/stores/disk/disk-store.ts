import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { isSameEtag } from '../../core/etag.ts';
import {
  type MultipartAddress,
  type ObjectStore,
  type StoreBody,
  StoreError,
  type StoreLimits,
} from '../../core/object-store.ts';
import { callDisk, isMissing, listDisk, noSuchUpload } from './errors.ts';
import { namesIn, removeTree } from './files.ts';
import { deleteObject, headObject, listObjects, openObject, putObject } from './objects.ts';
import { listParts, storePart } from './part-files.ts';
import { bucketName, type Places, placesBelow } from './places.ts';
import { guardRoot } from './root.ts';
import { abortUpload, completeUpload, createUpload, listUploads } from './uploads.ts';

/**
 * Objects as files below `root`, so that the gateway runs with nothing else installed. Several processes may
 * share a root on one file system: all state is in files, and each change of state is one rename.
 */
export function createDiskStore(options: { readonly root: string; readonly limits: StoreLimits }): ObjectStore {
  const { root, limits } = options;
  const places = placesBelow(root);
  const requireRoot = guardRoot(root);
  void sweep(places).catch(() => undefined);

  const call = <T>(name: string, signal: AbortSignal | undefined, run: () => Promise<T>): Promise<T> =>
    callDisk(name, signal, async () => {
      await requireRoot();
      return run();
    });
  const list = <T>(name: string, signal: AbortSignal | undefined, items: AsyncIterable<T>): AsyncIterable<T> =>
    listDisk(name, signal, afterRoot(requireRoot, items));

  return {
    limits,
    capabilities: { verifies: new Set(), presigns: false, etagIsMd5: false },
    description: `files in ${root}`,
    keepsUnfinishedMs: () => undefined,

    check: (bucket, { signal } = {}) =>
      call('check', signal, async () => {
        bucketName(bucket);
        await access(root, constants.R_OK | constants.W_OK | constants.X_OK);
      }),

    createMultipartUpload: ({ bucket, key, contentType, metadata }, { signal } = {}) =>
      call('createMultipartUpload', signal, async () => {
        const initiatedAt = new Date().toISOString();
        const upload = { bucket, key, contentType, metadata: lowerCaseKeys(metadata), initiatedAt };
        return { storeUploadId: await createUpload(places, upload) };
      }),

    uploadPart: (input, { signal } = {}) =>
      withBody(input.body, signal, () => call('uploadPart', signal, () => storePartOf(places, limits, input, signal))),

    copyPart: ({ source: { range, etag, ...address }, ...target }, { signal } = {}) =>
      call('copyPart', signal, async () => {
        const { body, bodySizeBytes: sizeBytes, etag: found } = await openObject(places, address, range);
        if (etag !== undefined && !isSameEtag(etag, found)) {
          body.destroy();
          throw new StoreError('no_such_object', `another object is at ${JSON.stringify(address.key)}`);
        }
        const input = { ...target, body, sizeBytes };
        return withBody(body, signal, () => storePartOf(places, limits, input, signal));
      }),

    listParts: (input, { signal } = {}) => list('listParts', signal, partsOf(places, input)),

    completeMultipartUpload: (input, { signal } = {}) =>
      call('completeMultipartUpload', signal, () => completeUpload(places, limits, input)),

    abortMultipartUpload: (input, { signal } = {}) =>
      call('abortMultipartUpload', signal, () => abortUpload(places, input)),

    listMultipartUploads: (input, { signal } = {}) => list('listMultipartUploads', signal, listUploads(places, input)),

    putObject: ({ metadata = {}, ...input }, { signal } = {}) =>
      withBody(input.body, signal, () =>
        call('putObject', signal, () => {
          requireSize(input.sizeBytes, limits);
          return putObject(places, { ...input, metadata: lowerCaseKeys(metadata) }, signal);
        }),
      ),

    getObject: ({ range, ...address }, { signal } = {}) =>
      call('getObject', signal, async () => {
        const { bodySizeBytes: _, ...object } = await openObject(places, address, range);
        return object;
      }),

    headObject: (input, { signal } = {}) => call('headObject', signal, () => headObject(places, input)),

    deleteObject: ({ etag, ...address }, { signal } = {}) =>
      call('deleteObject', signal, async () => {
        const found = await headObject(places, address);
        if (found !== undefined && !isSameEtag(etag, found.etag)) {
          throw new StoreError('precondition_failed', `another object is at ${JSON.stringify(address.key)}`);
        }
        await deleteObject(places, address);
      }),

    deleteObjects: ({ bucket, keys }, { signal } = {}) =>
      call('deleteObjects', signal, async () => {
        for (const key of keys) await deleteObject(places, { bucket, key });
      }),

    listObjects: ({ bucket, prefix }, { signal } = {}) =>
      list('listObjects', signal, listObjects(places, bucket, prefix)),

    pinsBy: () => 'md5',
    presignUploadPart: async () => {
      throw new StoreError('refused', 'the disk store signs no URLs: parts go through the gateway');
    },

    close: async () => undefined,
  };
}

async function* afterRoot<T>(requireRoot: () => Promise<void>, items: AsyncIterable<T>): AsyncIterable<T> {
  await requireRoot();
  yield* items;
}

async function storePartOf(
  places: Places,
  limits: StoreLimits,
  input: MultipartAddress & {
    readonly partNumber: number;
    readonly body: StoreBody;
    readonly sizeBytes: number;
  },
  signal: AbortSignal | undefined,
): Promise<{ etag: string }> {
  const { partNumber, sizeBytes } = input;
  if (!Number.isInteger(partNumber) || partNumber < 1 || partNumber > limits.maxParts) {
    throw new StoreError('refused', `part numbers are 1 to ${limits.maxParts}, not ${partNumber}`);
  }
  requireSize(sizeBytes, limits);
  try {
    const { etag } = await storePart(places.upload(input), input, signal);
    return { etag };
  } catch (error) {
    throw isMissing(error) ? noSuchUpload(input.storeUploadId) : error;
  }
}

async function* partsOf(
  places: Places,
  { after = 0, ...input }: Parameters<ObjectStore['listParts']>[0],
): ReturnType<ObjectStore['listParts']> {
  try {
    for await (const part of listParts(places.upload(input))) {
      if (part.partNumber > after) yield part;
    }
  } catch (error) {
    throw isMissing(error) ? noSuchUpload(input.storeUploadId) : error;
  }
}

function requireSize(sizeBytes: number, { maxPartSizeBytes }: StoreLimits): void {
  if (sizeBytes > maxPartSizeBytes) {
    throw new StoreError('refused', `${sizeBytes} bytes in one request are more than ${maxPartSizeBytes}`);
  }
}

/** Destroys the body when the call fails or is called off. */
async function withBody<T>(body: StoreBody, signal: AbortSignal | undefined, run: () => Promise<T>): Promise<T> {
  if (!(body instanceof Readable)) return run();
  const callOff = () => body.destroy();
  // Stays: an error that nobody listens to ends the process.
  body.on('error', () => undefined);
  signal?.addEventListener('abort', callOff);
  try {
    return await run();
  } catch (error) {
    body.destroy();
    throw error;
  } finally {
    signal?.removeEventListener('abort', callOff);
  }
}

/** As S3 does. */
function lowerCaseKeys(metadata: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(metadata).map(([key, value]) => [key.toLowerCase(), value]));
}

const abandonedAfterMs = 24 * 60 * 60 * 1000;

/** Removes what killed processes left where nothing counts any more, or not yet. */
async function sweep({ trash, drafts }: Places): Promise<void> {
  for (const name of await namesIn(trash)) await removeTree(join(trash, name));
  for (const name of await namesIn(drafts)) {
    const path = join(drafts, name);
    if ((await stat(path)).mtimeMs < Date.now() - abandonedAfterMs) await removeTree(path);
  }
}
