import { type Digests, isCombinable } from '../../core/digest.ts';
import type { Upload } from '../../core/upload.ts';
import { parseDigestField } from '../http/digest-fields.ts';

// RFC 9530, section 3: "Repr-Digest".

/** Of the whole, where it can be checked without reading the object again: an interrupted upload must not lose what came. */
export function declaredDigest(field: string | undefined): Upload['digest'] {
  if (field === undefined) return undefined;
  for (const [algorithm, value] of parseDigestField(field, 'Repr-Digest')) {
    if (isCombinable(algorithm)) return { algorithm, value };
  }
  return undefined;
}

/** The others, where one request brings the whole: CRCs are those of its parts joined, however it comes. */
export function wholeDigestsOf(field: string | undefined): Digests | undefined {
  if (field === undefined) return undefined;
  const hashes = [...parseDigestField(field, 'Repr-Digest')].filter(([name]) => !isCombinable(name));
  return hashes.length === 0 ? undefined : Object.fromEntries(hashes);
}
