import { UploadError } from './errors.ts';
import { notFoundError, notOpen } from './find.ts';
import type { RangeRefusal } from './range-records.ts';
import type { Upload } from './upload.ts';

/** What is told of a range that can't be leased. */
export function refusalError(
  refused: Exclude<RangeRefusal, { kind: 'occupied' }>,
  range: { readonly from: number; readonly to: number },
): UploadError {
  switch (refused.kind) {
    case 'not_found':
      return notFoundError();
    case 'not_open':
      return notOpen(refused.upload);
    case 'gap':
      return gapError(refused.upload, range.from);
    case 'size_conflict':
      return sizeError(refused.upload, range.to);
    case 'other_layout':
      return new UploadError('busy', 'The upload was laid out anew. Try again.', { retryAfterSeconds: 1 });
  }
}

export function gapError({ offset }: Upload, from: number): UploadError {
  return new UploadError('state_conflict', `The next byte is ${offset}, not ${from}.`, {
    details: { conflict: 'gap', offset },
  });
}

export function sizeError({ sizeBytes, receivedBytes }: Upload, end: number): UploadError {
  return new UploadError(
    'state_conflict',
    sizeBytes === undefined
      ? `The size that is told does not fit: ${receivedBytes} bytes are stored, and what is sent ends at ${end}.`
      : `The upload has ${sizeBytes} bytes: what is sent, or said of its size, does not fit.`,
    { details: { conflict: 'size', ...(sizeBytes === undefined ? {} : { expectedSize: sizeBytes }) } },
  );
}

/** It completed while its bytes were on their way. */
export function endedError(): UploadError {
  return new UploadError('busy', 'The upload was completed without this request. Send the bytes again.', {
    retryAfterSeconds: 1,
  });
}

/** Somebody has it still. */
export function busyError(what: 'these bytes' | 'this part', retryAfterMs: number): UploadError {
  return new UploadError('busy', `An earlier request for ${what} is not over yet. Try again.`, {
    retryAfterSeconds: Math.min(2, Math.max(1, Math.ceil(retryAfterMs / 1000))),
  });
}
