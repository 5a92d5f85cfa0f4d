import { finishAbort } from './abort.ts';
import { claimOf } from './claim.ts';
import type { Deps } from './deps.ts';
import { UploadError } from './errors.ts';
import type { Upload } from './upload.ts';

/**
 * Ends an upload in favour of a newer one to the same name. What the store does not manage now is the reaper's.
 * @returns false where somebody has added to it since it was seen: what was acknowledged must not go
 */
export async function supersede(deps: Deps, upload: Upload): Promise<boolean> {
  const claimId = deps.newLeaseId();
  const claim = await deps.records.claimAbort({
    id: upload.id,
    claimId,
    leaseMs: deps.settings.leaseMs,
    reason: 'superseded',
    ifLastWriteAt: upload.lastWriteAt ?? upload.createdAt,
  });
  if (claim.kind === 'busy' && claim.upload?.state === 'open') return false;
  if (claim.kind !== 'claimed' || claim.upload === undefined) return true;
  await finishAbort(deps, claimOf(claim.upload, claimId)).catch((error: unknown) => {
    if (!(error instanceof UploadError)) throw error;
  });
  return true;
}
