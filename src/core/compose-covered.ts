import { composeSlot, deleteComposed } from './compose.ts';
import type { Deps } from './deps.ts';
import { requireOpen, requireThere } from './find.ts';
import { rangeOf } from './layout.ts';
import { DisplacedError } from './live-attempts.ts';
import type { Upload } from './upload.ts';

/**
 * Composes every slot that fragments cover and that nobody composes.
 * @returns how many, until another took over
 * @throws UploadError
 */
export async function composeCovered(deps: Deps, upload: Upload): Promise<number> {
  await deps.compositions.whenComposed(upload.id);
  const { layout, sizeBytes } = upload;
  if (layout.kind !== 'planned') return 0;
  for (let composed = 0; ; composed++) {
    const slot = await deps.records.claimCovered({
      upload,
      attemptId: deps.newLeaseId(),
      leaseMs: deps.settings.leaseMs,
      slotOf: (partNumber) => rangeOf(layout, partNumber, sizeBytes),
    });
    if (slot === undefined) return composed;
    try {
      await composeSlot(deps, requireOpen(upload), slot);
    } catch (error) {
      if (!(error instanceof DisplacedError)) throw error;
      await requireThere(deps, upload);
      return composed;
    }
    await deleteComposed(deps, upload.bucket, slot.fragments);
  }
}
