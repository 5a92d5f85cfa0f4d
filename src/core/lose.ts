import type { Deps } from './deps.ts';
import { newId } from './random.ts';
import type { Upload } from './upload.ts';

/** The store has dropped an open upload: its row ends as `lost`. */
export async function loseUpload(deps: Deps, upload: Upload): Promise<void> {
  const claimId = newId();
  const claimed = await deps.records.claimAbort({
    id: upload.id,
    claimId,
    leaseMs: deps.settings.leaseMs,
    reason: 'lost',
  });
  if (claimed.kind !== 'claimed') return;
  const lost = await deps.records.finishAbort({ id: upload.id, claimId, retentionMs: deps.settings.retentionMs });
  if (lost !== undefined) deps.events.emit({ type: 'upload_aborted', upload: lost });
}
