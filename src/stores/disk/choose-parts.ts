import { type StoredPart, StoreError, type StoreLimits } from '../../core/object-store.ts';

/** The stored parts that a Complete names, by the rules of S3's CompleteMultipartUpload. */
export function chooseParts(
  named: readonly { readonly partNumber: number; readonly etag: string }[],
  stored: ReadonlyMap<number, StoredPart>,
  limits: StoreLimits,
): StoredPart[] {
  if (named.length === 0) throw new StoreError('refused', 'Complete names no part');
  const chosen = named.map(({ partNumber, etag }, index) => {
    const part = stored.get(partNumber);
    if (part?.etag !== etag) {
      throw new StoreError(
        'invalid_part',
        `part ${partNumber} is ${part?.etag ?? 'not there'}, Complete names ${etag}`,
      );
    }
    const before = named[index - 1];
    if (before !== undefined && before.partNumber >= partNumber) {
      throw new StoreError('invalid_part', `part ${partNumber} comes after part ${before.partNumber}`);
    }
    return part;
  });
  const small = chosen.slice(0, -1).find(({ sizeBytes }) => sizeBytes < limits.minPartSizeBytes);
  if (small !== undefined) {
    throw new StoreError('part_too_small', `part ${small.partNumber} has ${small.sizeBytes} bytes and is not the last`);
  }
  if (sizeOf(chosen) > limits.maxObjectSizeBytes) {
    throw new StoreError('refused', `the object would have ${sizeOf(chosen)} bytes`);
  }
  return chosen;
}

export function sizeOf(parts: readonly { readonly sizeBytes: number }[]): number {
  return parts.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
}
