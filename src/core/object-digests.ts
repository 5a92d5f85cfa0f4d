import type { Readable } from 'node:stream';
import { tokenMetadataName } from './create.ts';
import type { Deps } from './deps.ts';
import { combineCrcs, type Digests, startDigest } from './digest.ts';
import { StoreError } from './object-store.ts';
import { partsOf } from './parts-of.ts';
import { md5Of, startMd5 } from './running-md5.ts';
import { tellingFaults, toUploadError } from './store-faults.ts';
import type { Part, Upload } from './upload.ts';

export type ObjectDigests = Pick<Digests, 'crc32c' | 'md5'>;

/** What is carried along with every byte where it can be, and found by reading where it can't. */
const algorithms = ['crc32c', 'md5'] as const;

/**
 * The digests of a completed upload's object: from what was carried along with its bytes, or else by reading it back,
 * once for both. What neither tells is left out.
 * @param input.readBackBytes the largest object that is read back
 * @throws UploadError `store_*`
 */
export async function objectDigests(
  deps: Pick<Deps, 'records' | 'store' | 'events'>,
  upload: Upload,
  input: { readonly readBackBytes: number; readonly signal?: AbortSignal | undefined },
): Promise<ObjectDigests> {
  const carried = { crc32c: crc32cOf(upload, await partsOf(deps, upload.id)), md5: await carriedMd5(upload) };
  const isWhole = algorithms.every((algorithm) => carried[algorithm] !== undefined);
  const read =
    isWhole || (upload.sizeBytes ?? 0) > input.readBackBytes ? {} : await readBack(deps, upload, input.signal);
  return present({ crc32c: carried.crc32c ?? read.crc32c, md5: carried.md5 ?? read.md5 });
}

function crc32cOf({ sizeBytes }: Upload, parts: readonly Part[]): string | undefined {
  const pieces = parts.flatMap((part) =>
    part.digests.crc32c === undefined ? [] : [{ crc: part.digests.crc32c, sizeBytes: part.sizeBytes }],
  );
  const knownBytes = pieces.reduce((sum, piece) => sum + piece.sizeBytes, 0);
  return knownBytes === sizeBytes ? combineCrcs('crc32c', pieces) : undefined;
}

async function carriedMd5({ sizeBytes, digestChain }: Upload): Promise<string | undefined> {
  const chain = sizeBytes === 0 ? (await startMd5()).save() : digestChain;
  return chain !== undefined && chain.endsAt === sizeBytes ? md5Of(chain) : undefined;
}

/** Nothing where another object has taken the key since. */
async function readBack(
  deps: Pick<Deps, 'store' | 'events'>,
  upload: Upload,
  signal: AbortSignal | undefined,
): Promise<ObjectDigests> {
  try {
    return await tellingFaults(deps, 'getObject', upload.id, async () => {
      const address = { bucket: upload.bucket, key: upload.storeKey };
      const object = await deps.store.getObject(address, signal === undefined ? {} : { signal });
      const isOurs = object.metadata[tokenMetadataName] === upload.token && object.sizeBytes === upload.sizeBytes;
      if (!isOurs) {
        object.body.destroy();
        return {};
      }
      return digestsOfBody(object.body, object.sizeBytes);
    });
  } catch (error) {
    if (error instanceof StoreError && error.kind === 'no_such_object') return {};
    throw toUploadError(error);
  }
}

async function digestsOfBody(body: Readable, sizeBytes: number): Promise<ObjectDigests> {
  const digests = algorithms.map((algorithm) => startDigest(algorithm));
  let readBytes = 0;
  try {
    for await (const chunk of body as AsyncIterable<Buffer>) {
      readBytes += chunk.length;
      for (const digest of digests) digest.update(chunk);
    }
  } catch (cause) {
    throw new StoreError('unavailable', 'GetObject: the body broke off', { cause });
  }
  if (readBytes !== sizeBytes) throw new StoreError('unavailable', 'GetObject: the body is not whole');
  return Object.fromEntries(
    await Promise.all(digests.map(async (digest) => [digest.algorithm, await digest.finish()])),
  );
}

function present(digests: { readonly [Name in keyof ObjectDigests]: string | undefined }): ObjectDigests {
  return Object.fromEntries(Object.entries(digests).filter(([, value]) => value !== undefined));
}
