import type { ReadBack } from './compare-runs.ts';
import type { Deps } from './deps.ts';
import { UploadError } from './errors.ts';
import type { OpenUpload } from './find.ts';
import { StoreError } from './object-store.ts';
import { newId } from './random.ts';
import { tellingFaults } from './store-faults.ts';

/** Where a fragment's bytes are, in the upload's bucket. */
function stagingKeyOf({ settings }: Pick<Deps, 'settings'>, uploadId: string, fragmentId: string): string {
  return `${settings.stagingPrefix}${uploadId}/${fragmentId}`;
}

/** A new fragment's id, and the key of the object that is to have its bytes. */
export function nameFragment(
  deps: Pick<Deps, 'settings'>,
  uploadId: string,
): { readonly fragmentId: string; readonly stagingKey: string } {
  const fragmentId = newId();
  return { fragmentId, stagingKey: stagingKeyOf(deps, uploadId, fragmentId) };
}

/** Reads fragments back, from memory where they are held. A part of an unfinished upload can't be read. */
export function readBackOf(deps: Deps, upload: OpenUpload): ReadBack {
  return ({ offset, fragmentId }, from, to) =>
    fragmentId === undefined
      ? undefined
      : readFragment(deps, upload, fragmentId, { first: from - offset, last: to - offset - 1 });
}

/** @throws StoreError; UploadError `busy` where a part has been made of it meanwhile */
async function* readFragment(
  deps: Deps,
  { id, bucket }: OpenUpload,
  fragmentId: string,
  range: { readonly first: number; readonly last: number },
): AsyncGenerator<Buffer> {
  const held = deps.held.use(fragmentId);
  try {
    if (held !== undefined) {
      yield Buffer.concat(held).subarray(range.first, range.last + 1);
      return;
    }
    const key = stagingKeyOf(deps, id, fragmentId);
    const { body } = await tellingFaults(deps, 'getObject', id, () =>
      deps.store.getObject({ bucket, key, range }, { signal: deps.halted }),
    );
    yield* whole(body, range.last - range.first + 1);
  } catch (error) {
    if (!(error instanceof StoreError) || error.kind !== 'no_such_object') throw error;
    throw new UploadError('busy', 'A part is being made of these bytes. Send them again.', {
      retryAfterSeconds: 1,
      cause: error,
    });
  } finally {
    if (held !== undefined) deps.held.letGo(fragmentId);
  }
}

/** @throws StoreError where the store's answer breaks off, or has another length */
async function* whole(body: AsyncIterable<Buffer>, sizeBytes: number): AsyncGenerator<Buffer> {
  let seenBytes = 0;
  try {
    for await (const chunk of body) {
      seenBytes += chunk.length;
      yield chunk;
    }
  } catch (cause) {
    throw new StoreError('unavailable', `getObject: the answer broke off after ${seenBytes} bytes`, { cause });
  }
  if (seenBytes !== sizeBytes) {
    throw new StoreError('unavailable', `getObject: the answer has ${seenBytes} bytes of ${sizeBytes}`);
  }
}
