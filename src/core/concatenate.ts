import { Readable } from 'node:stream';
import { abortUpload } from './abort.ts';
import { type JoinedPart, planConcatenation } from './concatenation-plan.ts';
import { copyPart } from './copy-part.ts';
import { type CreateInput, createUpload } from './create.ts';
import type { Deps } from './deps.ts';
import { ClientGoneError, UploadError } from './errors.ts';
import { goneError } from './find.ts';
import { requireSize } from './limits.ts';
import { partsOf } from './parts-of.ts';
import { ownerOf, type Principal } from './principal.ts';
import { putPart } from './put-part.ts';
import { toUploadError } from './store-faults.ts';
import { completeWhole } from './tell-size.ts';
import type { Upload } from './upload.ts';

/** How many parts of one upload are copied at once. */
const copiedAtOnce = 4;

/**
 * Opens an upload that is the objects of completed ones, one behind the other, and puts it together as `joinSources` does.
 * @param input.sources in their order; one may be there several times
 * @returns the upload: `completed`, or still being put together after a while
 * @throws UploadError `state_conflict` for a source that is not completed, `upload_gone`, `limit_exceeded`
 */
export async function concatenate(
  deps: Deps,
  input: Pick<CreateInput, 'principal' | 'protocol' | 'contentType' | 'metadata' | 'front'> & {
    readonly sources: readonly Upload[];
  },
): Promise<Upload> {
  const { sources, ...rest } = input;
  const sizes = sources.map(sizeOf);
  const sizeBytes = sizes.reduce((sum, size) => sum + size, 0);
  requireSize(sizeBytes, deps.settings);
  requireParts(deps, planConcatenation(sizes, deps.store.limits));
  const bucket = sources[0]?.bucket;
  if (sources.some((source) => source.bucket !== bucket)) {
    throw new UploadError('state_conflict', 'Uploads in several buckets are not put together.');
  }
  const upload = await createUpload(deps, {
    ...rest,
    bucket,
    sizeBytes,
    layout: 'free',
    isSelfCompleting: true,
    sources: sources.map(({ id }) => id),
  });
  const joined = joinSources(deps, upload);
  // What is not done in time, or meets a fault, is the reaper's to go on with.
  joined.catch(() => undefined);
  const waited = new AbortController();
  try {
    const late = deps.clock.sleep(deps.settings.completeWaitMs, waited.signal);
    await Promise.race([joined, late]);
  } catch (error) {
    if (!(error instanceof UploadError) || isForGood(error)) throw error;
  } finally {
    waited.abort();
  }
  return (await deps.records.find(upload.tenant, upload.id)) ?? upload;
}

/**
 * Makes the parts of an upload out of its sources, those that it has not yet, and completes it. Whoever dies in between
 * leaves it to the reaper; one whose sources are gone is aborted.
 * @throws UploadError
 */
export async function joinSources(deps: Deps, upload: Upload): Promise<void> {
  const principal = ownerOf(upload);
  const forMs = 3 * deps.settings.leaseMs;
  const stopPostponing = deps.renewals.add(() => {
    deps.records.postponeWork({ uploadId: upload.id, forMs }).catch(() => undefined);
  });
  try {
    await deps.records.postponeWork({ uploadId: upload.id, forMs });
    const sources = await findSources(deps, upload);
    const stored = new Set((await partsOf(deps, upload.id)).map(({ partNumber }) => partNumber));
    const missing = planConcatenation(sources.map(sizeOf), deps.store.limits).filter(
      ({ partNumber }) => !stored.has(partNumber),
    );
    await eachOf(missing, copiedAtOnce, (part) => makePart(deps, principal, { upload, sources, part }));
    await completeWhole(deps, { principal, upload });
  } catch (error) {
    if (error instanceof UploadError && isForGood(error)) await abortUpload(deps, principal, upload.id);
    throw error;
  } finally {
    stopPostponing();
  }
}

async function findSources(deps: Deps, { tenant, sources = [] }: Upload): Promise<readonly Upload[]> {
  const found = new Map<string, Upload>();
  for (const id of new Set(sources)) {
    const source = await deps.records.find(tenant, id);
    if (source === undefined) throw goneError('expired');
    found.set(id, source);
  }
  return sources.flatMap((id) => found.get(id) ?? []);
}

/** @throws UploadError */
function sizeOf(source: Upload): number {
  const { id, state, reason, sizeBytes } = source;
  if (state === 'completed' && sizeBytes !== undefined) return sizeBytes;
  if (state === 'aborting' || state === 'aborted' || state === 'deleted') throw goneError(reason);
  throw new UploadError('state_conflict', `Upload ${id} is not completed yet.`, { details: { uploadId: id } });
}

function requireParts({ store }: Deps, parts: readonly JoinedPart[]): void {
  const { maxParts } = store.limits;
  if (parts.length <= maxParts) return;
  throw new UploadError('limit_exceeded', `They would be more than ${maxParts} parts.`, {
    details: { limit: maxParts },
  });
}

async function makePart(
  deps: Deps,
  principal: Principal,
  {
    upload,
    sources,
    part,
  }: { readonly upload: Upload; readonly sources: readonly Upload[]; readonly part: JoinedPart },
): Promise<void> {
  const { partNumber, offset, sizeBytes, segments } = part;
  const placed = segments.map(({ source, first, sizeBytes: length }) => {
    const { bucket, storeKey } = sources[source] as Upload;
    return { bucket, key: storeKey, range: { first, last: first + length - 1 } };
  });
  const [only, ...more] = placed;
  if (only !== undefined && more.length === 0) {
    return copyPart(deps, { principal, uploadId: upload.id, partNumber, offset, source: only });
  }
  try {
    await putPart(deps, {
      principal,
      uploadId: upload.id,
      partNumber,
      offset,
      sizeBytes,
      digests: {},
      body: () => Readable.from(bytesOf(deps, placed), { objectMode: false }),
    });
  } catch (error) {
    // Nobody left: a read of the store broke off.
    if (!(error instanceof ClientGoneError)) throw error;
    throw error.cause instanceof Error && error.cause.cause !== undefined
      ? toUploadError(error.cause.cause)
      : new UploadError('store_unavailable', 'The store broke off. Try again.', { retryAfterSeconds: 2, cause: error });
  }
}

async function* bytesOf(
  deps: Deps,
  placed: readonly Parameters<Deps['store']['getObject']>[0][],
): AsyncGenerator<Buffer> {
  for (const place of placed) {
    const { body } = await deps.store.getObject(place, { signal: deps.halted });
    yield* body;
  }
}

/** Works on so many items at a time. The first failure is thrown once all that began have ended. */
async function eachOf<T>(items: readonly T[], atOnce: number, work: (item: T) => Promise<void>): Promise<void> {
  const queue = items.values();
  let hasFailed = false;
  const worker = async () => {
    for (const item of queue) {
      if (hasFailed) return;
      try {
        await work(item);
      } catch (error) {
        hasFailed = true;
        throw error;
      }
    }
  };
  const ends = await Promise.allSettled(Array.from({ length: atOnce }, worker));
  for (const end of ends) if (end.status === 'rejected') throw end.reason;
}

/** Another try would meet the same. */
function isForGood({ code }: UploadError): boolean {
  return code === 'upload_gone' || code === 'object_not_found' || code === 'precondition_failed';
}
