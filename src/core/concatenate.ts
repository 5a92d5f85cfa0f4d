import { type CreateInput, createUpload } from './create.ts';
import type { Deps } from './deps.ts';
import { UploadError } from './errors.ts';
import { isForGood, joinSources, sizeOfJoined } from './join-sources.ts';
import type { Upload } from './upload.ts';

/**
 * Opens an upload that is the objects of others, one behind the other, and puts it together as `joinSources` does: at once,
 * or when the last of them is completed.
 * @param input.sources in their order; one may be there several times
 * @returns the upload: `completed`, or still being put together after a while, or waiting for its sources
 * @throws UploadError `upload_gone` for a source that ended without an object, `limit_exceeded`, `state_conflict`
 */
export async function concatenate(
  deps: Deps,
  input: Pick<CreateInput, 'principal' | 'protocol' | 'key' | 'contentType' | 'metadata' | 'front'> & {
    readonly sources: readonly Upload[];
  },
): Promise<Upload> {
  const { sources, ...rest } = input;
  const sizeBytes = sizeOfJoined(deps, sources);
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
