import type { Deps } from './deps.ts';
import type { CallOptions } from './ports.ts';
import { provenEtag } from './proof.ts';
import type { Upload } from './upload.ts';

/**
 * The store does not know an open upload. Its row ends as `lost`, unless there is an object of ours: then, or where the
 * store does not tell, completing it will find out.
 */
export async function loseUpload(deps: Deps, upload: Upload, options: CallOptions = {}): Promise<void> {
  const mayBeThere = await provenEtag(deps, upload, options).then(
    (etag) => etag !== undefined,
    () => true,
  );
  if (mayBeThere) return;
  const claimId = deps.newLeaseId();
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
