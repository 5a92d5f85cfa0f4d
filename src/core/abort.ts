import { type Claim, claimOf, underClaim } from './claim.ts';
import type { Deps } from './deps.ts';
import { UploadError } from './errors.ts';
import { findUpload, multipartOf, notFoundError, notOpen } from './find.ts';
import { type CallOptions, StoreError } from './object-store.ts';
import type { Principal } from './principal.ts';
import { tellingFaults, toUploadError } from './store-faults.ts';
import { withinStoreWait } from './store-wait.ts';
import type { AbortReason, Upload } from './upload.ts';

const tries = 5;
const pauseMs = 200;

/**
 * Ends an upload without an object. Idempotent. A completed upload's object is not the upload's to delete.
 * @param reason what its clients are told
 * @throws UploadError `state_conflict`, `busy`, `store_*`
 */
export async function abortUpload(
  deps: Deps,
  principal: Principal,
  uploadId: string,
  reason: AbortReason = 'requested',
): Promise<void> {
  const upload = await findUpload(deps, principal, uploadId);
  if (upload.state === 'aborted') return;
  const claimId = deps.newLeaseId();
  const claim = await deps.records.claimAbort({
    id: upload.id,
    claimId,
    leaseMs: deps.settings.leaseMs,
    reason,
  });
  if (claim.upload === undefined) throw notFoundError();
  if (claim.kind === 'busy' || claim.upload.state === 'aborted') return;
  if (claim.kind === 'not_open') throw notOpen(claim.upload);
  await finishAbort(deps, claimOf(claim.upload, claimId));
}

/**
 * Aborts at the store until the store no longer knows the upload: parts in flight may land after a first abort,
 * and MinIO answers every abort with success.
 * @throws UploadError `store_*`; the upload stays `aborting`, for the next caller or the reaper
 */
export async function finishAbort(deps: Deps, claim: Claim): Promise<Upload | undefined> {
  const { upload, claimId } = claim;
  return underClaim(deps, claim, async ({ options }) => {
    await withinStoreWait(deps, [options.signal], (waiting) => abortAtStore(deps, claim, waiting));
    const aborted = await deps.records.finishAbort({
      id: upload.id,
      claimId,
      retentionMs: deps.settings.retentionMs,
    });
    if (aborted !== undefined) deps.events.emit({ type: 'upload_aborted', upload: aborted });
    return aborted;
  });
}

async function abortAtStore(
  deps: Deps,
  { upload }: Claim,
  options: CallOptions & { readonly signal: AbortSignal },
): Promise<void> {
  const address = multipartOf(upload);
  for (let attempt = 1; ; attempt++) {
    try {
      await tellingFaults(deps, 'abortMultipartUpload', upload.id, () =>
        deps.store.abortMultipartUpload(address, options),
      );
      for await (const _ of deps.store.listParts(address, options)) break;
    } catch (error) {
      if (error instanceof StoreError && error.kind === 'no_such_upload') return;
      throw toUploadError(error);
    }
    if (attempt === tries) {
      throw new UploadError('store_unavailable', 'The store still holds the upload. Try again.', {
        retryAfterSeconds: 2,
      });
    }
    await deps.clock.sleep(pauseMs * attempt, options.signal);
  }
}
