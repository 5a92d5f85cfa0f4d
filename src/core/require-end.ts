import { type BodyReader, lengthError } from './body-reader.ts';
import { sizeError } from './range-errors.ts';
import type { RangeWrite } from './range-write.ts';

/**
 * Bytes that are one too many are told before the last one counts: it may complete the upload.
 * @throws UploadError `invalid_request`, or `state_conflict` where the body has no range that it exceeds
 */
export async function requireEnd({ bodyEnd, upload }: RangeWrite, reader: BodyReader): Promise<void> {
  if (!(await reader.hasMore())) return;
  throw bodyEnd === undefined ? sizeError(upload, (upload.sizeBytes ?? 0) + 1) : lengthError('more');
}
