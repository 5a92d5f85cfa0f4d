import type { Deps } from './deps.ts';
import { notOpen } from './find.ts';
import { StoreError } from './object-store.ts';
import { provenEtag } from './proof.ts';
import { tellingFaults, toUploadError } from './store-faults.ts';
import { withinStoreWait } from './store-wait.ts';
import type { Upload } from './upload.ts';

/**
 * Deletes the object that this upload made, if it is still the one at its key; another's stays. Idempotent.
 * @throws UploadError `state_conflict` where it is not completed, `store_*`
 */
export async function deleteCompleted(deps: Deps, upload: Upload): Promise<void> {
  if (upload.state === 'deleted') return;
  if (upload.state !== 'completed') throw notOpen(upload);
  const { id, bucket, storeKey } = upload;
  try {
    await withinStoreWait(deps, [deps.halted], async (options) => {
      const etag = await provenEtag(deps, upload, options);
      if (etag === undefined) return;
      await tellingFaults(deps, 'deleteObject', id, () =>
        deps.store.deleteObject({ bucket, key: storeKey, etag }, options),
      );
    });
  } catch (error) {
    // Another object has come there since it was looked at.
    if (!(error instanceof StoreError && error.kind === 'precondition_failed')) throw toUploadError(error);
  }
  await deps.records.markDeleted({ id, retentionMs: deps.settings.retentionMs });
}
