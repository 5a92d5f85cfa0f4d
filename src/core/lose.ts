import type { Deps } from './deps.ts';
import { UploadError } from './errors.ts';
import { type CallOptions, StoreError } from './object-store.ts';
import { provenEtag } from './proof.ts';
import { toUploadError } from './store-faults.ts';
import type { Upload } from './upload.ts';

/**
 * The store does not know an open upload. Its row ends as `lost`, unless there is an object of ours: then, or where the
 * store does not tell, completing it will find out.
 * @returns whether it has ended
 */
export async function loseUpload(deps: Deps, upload: Upload, options: CallOptions = {}): Promise<boolean> {
  const mayBeThere = await provenEtag(deps, upload, options).then(
    (etag) => etag !== undefined,
    () => true,
  );
  if (mayBeThere) return false;
  const claimId = deps.newLeaseId();
  const claimed = await deps.records.claimAbort({
    id: upload.id,
    claimId,
    leaseMs: deps.settings.leaseMs,
    reason: 'lost',
  });
  if (claimed.kind !== 'claimed') return claimed.upload?.state === 'aborting' || claimed.upload?.state === 'aborted';
  const lost = await deps.records.finishAbort({ id: upload.id, claimId, retentionMs: deps.settings.retentionMs });
  if (lost !== undefined) deps.events.emit({ type: 'upload_aborted', upload: lost });
  return true;
}

/**
 * What a client is told of a failure. Where the store does not know the upload any more, another may have completed it
 * meanwhile: then it has not gone.
 */
export async function toldOf(deps: Deps, upload: Upload, error: unknown, options: CallOptions = {}): Promise<unknown> {
  if (!isUnknownUpload(error) || (await loseUpload(deps, upload, options))) return toUploadError(error);
  return movedOnError(error);
}

export function isUnknownUpload(error: unknown): error is StoreError {
  return error instanceof StoreError && error.kind === 'no_such_upload';
}

export function movedOnError(cause: StoreError): UploadError {
  return new UploadError('busy', 'The upload is in other hands, or completed. Ask where it stands.', {
    retryAfterSeconds: 1,
    cause,
  });
}
