import { UploadError } from './errors.ts';
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
