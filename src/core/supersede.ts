import { finishAbort } from './abort.ts';
import { claimOf } from './claim.ts';
import type { Deps } from './deps.ts';
import { UploadError } from './errors.ts';
import type { Upload } from './upload.ts';

/** Ends an upload in favour of a newer one to the same name. What the store does not manage now is the reaper's. */
export async function supersede(deps: Deps, upload: Upload): Promise<void> {
  const claimId = deps.newLeaseId();
  const claim = await deps.records.claimAbort({
    id: upload.id,
    claimId,
    leaseMs: deps.settings.leaseMs,
    reason: 'superseded',
  });
  if (claim.kind !== 'claimed' || claim.upload === undefined) return;
  await finishAbort(deps, claimOf(claim.upload, claimId)).catch((error: unknown) => {
    if (!(error instanceof UploadError)) throw error;
  });
}
