import { composeSlot, deleteComposed } from './compose.ts';
import type { Deps } from './deps.ts';
import { UploadError } from './errors.ts';
import { requireOpen, requireThere } from './find.ts';
import { rangeOf } from './layout.ts';
import { DisplacedError } from './live-attempts.ts';
import type { Upload } from './upload.ts';

/** Whether every byte is durable, as part or as fragment. */
export function isWhole({ sizeBytes, offset, receivedBytes }: Upload): boolean {
  return sizeBytes !== undefined && offset === sizeBytes && receivedBytes === sizeBytes;
}

/** Whether it is whole and completes without being asked: by itself, or by a front that has no call to complete. */
export function isToComplete(upload: Upload, byFront: boolean): boolean {
  return isWhole(upload) && (byFront || upload.isSelfCompleting) && !upload.isConflicted;
}

/** @throws UploadError `state_conflict` for an upload that nobody completes without being asked to */
export function requireUndisputed(upload: Upload): void {
  if (upload.isConflicted) throw disputedError(upload);
}

export function disputedError({ id }: Upload): UploadError {
  const message =
    'All bytes are stored, but others were sent for some of them. Complete the upload as it is, or abort it.';
  return new UploadError('state_conflict', message, { details: { conflict: 'disputed', uploadId: id } });
}

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
