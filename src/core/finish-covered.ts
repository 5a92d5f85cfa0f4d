import { claimOf } from './claim.ts';
import { composeCovered } from './compose-covered.ts';
import type { Deps } from './deps.ts';
import { UploadError } from './errors.ts';
import { finishCompletion } from './finish-completion.ts';
import { isToComplete } from './is-whole.ts';
import { joinSources } from './join-sources.ts';
import type { Upload } from './upload.ts';

/** Goes on where whoever covered a slot, or brought the last byte, did not: its process died. */
export async function finishCovered(deps: Deps, upload: Upload): Promise<void> {
  if (upload.sources !== undefined) return joinSources(deps, upload);
  await composeCovered(deps, upload);
  if (isToComplete(upload, false)) {
    const claimId = deps.newLeaseId();
    const claim = await deps.records.claimCompletion({
      id: upload.id,
      claimId,
      leaseMs: deps.settings.leaseMs,
      byItself: true,
    });
    if (claim.kind === 'claimed') {
      try {
        await finishCompletion(deps, claimOf(claim.upload, claimId), { takenOver: false, doubtful: claim.doubtful });
      } catch (error) {
        if (!isRefusedForGood(error)) throw error;
        // Who sent it was told so, or is when it asks: the object must not appear later, when nobody expects it.
        await deps.records.markConflicted(upload.id);
      }
    }
    if (claim.kind === 'busy' || claim.kind === 'uncomposed') return;
  }
  await deps.records.endWork(upload);
}

function isRefusedForGood(error: unknown): boolean {
  return error instanceof UploadError && (error.code === 'precondition_failed' || error.code === 'digest_mismatch');
}
