import { combineCrcs, isCombinable } from './digest.ts';
import { UploadError } from './errors.ts';
import type { Part, Upload } from './upload.ts';

/** What speaks against the parts being what the digest of the whole says, from the parts' own digests alone. */
export function faultOfWhole(parts: readonly Part[], digest: Upload['digest']): UploadError | undefined {
  if (digest === undefined || !isCombinable(digest.algorithm)) return undefined;
  const { algorithm } = digest;
  const pieces = parts.flatMap(({ digests, sizeBytes }) => {
    const crc = digests[algorithm];
    return crc === undefined ? [] : [{ crc, sizeBytes }];
  });
  if (pieces.length < parts.length) {
    return new UploadError(
      'invalid_request',
      `The ${algorithm} of the whole can't be checked: some parts were stored without one. Declare the digest when the upload is created.`,
      { details: { field: 'digest' } },
    );
  }
  const value = combineCrcs(algorithm, pieces);
  if (value === digest.value) return undefined;
  return new UploadError('digest_mismatch', `The ${algorithm} of the whole is ${value}, not ${digest.value}.`, {
    details: { algorithm, expected: digest.value, actual: value },
  });
}
