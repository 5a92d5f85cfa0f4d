import { type DigestAlgorithm, type Digests, isCombinable, type RunningDigest } from './digest.ts';
import type { Upload } from './upload.ts';

/**
 * The digests that are kept of what is stored: a declared one is checked against the parts', Content-Range compares
 * repeats by CRC-32, and Google's clients are told the CRC-32C of the whole.
 */
export function keptDigests({ protocol, digest }: Upload): readonly DigestAlgorithm[] {
  const kept = new Set<DigestAlgorithm>();
  if (protocol !== 'rest') kept.add(protocol === 'google' ? 'crc32c' : 'crc32');
  if (digest !== undefined && isCombinable(digest.algorithm)) kept.add(digest.algorithm);
  return [...kept];
}

/** Google's clients are told the MD5 of the whole: it is carried along with what comes in order. */
export function carriesMd5({ protocol }: Upload): boolean {
  return protocol === 'google';
}

/** What runs of any size are compared by has to be kept of each, also where a REST upload gets its bytes in ranges. */
export function keptRunDigests(upload: Upload): readonly DigestAlgorithm[] {
  const kept = keptDigests(upload);
  return kept.length > 0 ? kept : ['crc32'];
}

export async function finishDigests(digests: readonly RunningDigest[]): Promise<Digests> {
  const values: Partial<Record<DigestAlgorithm, string>> = {};
  for (const digest of digests) values[digest.algorithm] = await digest.finish();
  return values;
}
