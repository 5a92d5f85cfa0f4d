import { z } from '@hono/zod-openapi';
import type { DigestAlgorithm } from '../../core/digest.ts';
import { UploadError } from '../../core/errors.ts';
import { parseDigestField } from '../http/digest-fields.ts';

interface WholeDigest {
  readonly algorithm: DigestAlgorithm;
  readonly value: string;
}

/** RFC 9530, section 3: a client that knows the field sends it rather than a member of the body. */
export const reprDigestHeader = z.object({
  'repr-digest': z.string().optional().openapi({ description: 'The digest of the whole, as `digest` in the body' }),
});

/**
 * What a request states of the whole object: `digest` in the body, `Repr-Digest` in the head, or both alike.
 * @throws UploadError `invalid_request` where one names more than one digest that is known, or the two differ
 */
export function wholeDigestOf(
  body: { readonly digest?: string | undefined },
  headers: z.infer<typeof reprDigestHeader>,
): WholeDigest | undefined {
  const inBody = body.digest === undefined ? undefined : onlyDigest(body.digest, 'digest');
  const inHead = headers['repr-digest'] === undefined ? undefined : onlyDigest(headers['repr-digest'], 'Repr-Digest');
  if (inBody === undefined || inHead === undefined) return inBody ?? inHead;
  if (inBody.algorithm === inHead.algorithm && inBody.value === inHead.value) return inBody;
  throw new UploadError('invalid_request', 'digest and Repr-Digest state different things of the whole.', {
    details: { field: 'Repr-Digest' },
  });
}

function onlyDigest(text: string, field: string): WholeDigest {
  const [first, second] = parseDigestField(text, field);
  if (first === undefined || second !== undefined) {
    throw new UploadError('invalid_request', `${field}: state one digest of the whole.`, { details: { field } });
  }
  return { algorithm: first[0], value: first[1] };
}
