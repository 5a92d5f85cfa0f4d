import { claimOf } from './claim.ts';
import type { Deps } from './deps.ts';
import { finishCompletion } from './finish-completion.ts';
import { composeCovered, isToComplete } from './settle.ts';
import type { Upload } from './upload.ts';

/** Goes on where whoever covered a slot, or brought the last byte, did not: its process died. */
export async function finishCovered(deps: Deps, upload: Upload): Promise<void> {
  await composeCovered(deps, upload);
  if (isToComplete(upload, false)) {
    const claimId = deps.newLeaseId();
    const claim = await deps.records.claimCompletion({ id: upload.id, claimId, leaseMs: deps.settings.leaseMs });
    if (claim.kind === 'claimed') {
      await finishCompletion(deps, claimOf(claim.upload, claimId), { takenOver: false, doubtful: claim.doubtful });
    }
    if (claim.kind === 'busy' || claim.kind === 'uncomposed') return;
  }
  await deps.records.endWork(upload);
}
