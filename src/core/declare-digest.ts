import type { Deps } from './deps.ts';
import { UploadError } from './errors.ts';
import { keptDigests } from './kept-digests.ts';
import type { Upload } from './upload.ts';

/**
 * Takes the digest of the whole that is told with some of its bytes: whoever completes holds it against them. One that
 * can't be joined from what is kept of those stored already is passed over.
 * @throws UploadError `digest_mismatch` where another one was declared
 */
export async function declareDigest(
  { records }: Pick<Deps, 'records'>,
  upload: Upload,
  told: NonNullable<Upload['digest']>,
): Promise<void> {
  if (upload.receivedBytes > 0 && !keptDigests(upload).includes(told.algorithm)) return;
  const declared = upload.digest ?? (await records.declareDigest(upload.id, told))?.digest;
  if (declared?.algorithm !== told.algorithm || declared.value === told.value) return;
  throw new UploadError('digest_mismatch', `The upload's ${told.algorithm} is ${declared.value}, not ${told.value}.`, {
    details: { algorithm: told.algorithm, expected: told.value, actual: declared.value },
  });
}
