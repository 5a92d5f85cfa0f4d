import { Readable } from 'node:stream';
import { copiedSegment, isWhole, type JoinedPart, type Segment } from './concatenation-plan.ts';
import { copyPart } from './copy-part.ts';
import type { Deps } from './deps.ts';
import { combineCrcs, type Digests } from './digest.ts';
import { ClientGoneError, UploadError } from './errors.ts';
import { isSameEtag } from './etag.ts';
import { goneError } from './find.ts';
import { ownerOf } from './principal.ts';
import { putPart } from './put-part.ts';
import { crcOfRange } from './source-crc.ts';
import { tellingFaults, toUploadError } from './store-faults.ts';
import type { Upload } from './upload.ts';

interface Joining {
  readonly upload: Upload;
  /** Completed, in their order. */
  readonly sources: readonly Upload[];
  readonly part: JoinedPart;
}

/**
 * Makes one part of the objects of other uploads: the store copies it, or the gateway reads and sends it. What is read is
 * held against what is known of its bytes before the store has all of them.
 * @throws UploadError `upload_gone` where a source's object is not there as it was
 */
export async function joinPart(deps: Deps, joining: Joining): Promise<void> {
  try {
    await makePart(deps, joining);
  } catch (error) {
    const failure = error instanceof ClientGoneError ? readFault(error) : error;
    throw failure instanceof UploadError && failure.code === 'object_not_found' ? goneError('lost') : failure;
  }
}

async function makePart(deps: Deps, joining: Joining): Promise<void> {
  const { upload, sources, part } = joining;
  const { partNumber, offset, sizeBytes } = part;
  const sizes = sources.map((source) => source.sizeBytes ?? 0);
  const place = { principal: ownerOf(upload), uploadId: upload.id, partNumber, offset, sizeBytes };
  const digests = await digestsOf(deps, joining);
  const copied = copiedSegment(part, sizes);
  if (copied !== undefined) {
    const { bucket, storeKey, etag } = sourceOf(joining, copied);
    const range = isWhole(copied, sizes) ? undefined : rangeOf(copied);
    return copyPart(deps, { ...place, source: { bucket, key: storeKey, range, etag }, digests });
  }
  const body = () => Readable.from(bytesOf(deps, joining), { objectMode: false });
  await putPart(deps, { ...place, digests, body, isOfSources: true });
}

async function digestsOf(deps: Deps, joining: Joining): Promise<Digests> {
  const pieces: { readonly crc: string; readonly sizeBytes: number }[] = [];
  for (const segment of joining.part.segments) {
    const crc = await crcOfRange(deps, sourceOf(joining, segment), segment);
    if (crc === undefined) return {};
    pieces.push({ crc, sizeBytes: segment.sizeBytes });
  }
  return { crc32: combineCrcs('crc32', pieces) };
}

async function* bytesOf(deps: Deps, joining: Joining): AsyncGenerator<Buffer> {
  for (const segment of joining.part.segments) {
    const { bucket, storeKey, etag } = sourceOf(joining, segment);
    const object = await tellingFaults(deps, 'getObject', joining.upload.id, () =>
      deps.store.getObject({ bucket, key: storeKey, range: rangeOf(segment) }, { signal: deps.halted }),
    );
    if (etag !== undefined && !isSameEtag(object.etag, etag)) {
      object.body.destroy();
      throw goneError('lost');
    }
    yield* object.body;
  }
}

function sourceOf({ sources }: Joining, { source }: Segment): Upload {
  const found = sources[source];
  if (found === undefined) throw new Error(`a segment of source ${source}, which is not there`);
  return found;
}

function rangeOf({ first, sizeBytes }: Segment) {
  return { first, last: first + sizeBytes - 1 };
}

/** Nobody left: a read of the store broke off. */
function readFault(error: ClientGoneError): unknown {
  for (let cause: unknown = error.cause; cause instanceof Error; cause = cause.cause) {
    const known = toUploadError(cause);
    if (known instanceof UploadError) return known;
  }
  return new UploadError('store_unavailable', 'The store broke off. Try again.', {
    retryAfterSeconds: 2,
    cause: error,
  });
}
