import type { IncomingMessage } from 'node:http';
import type { Readable } from 'node:stream';
import type { Digests } from '../../core/digest.ts';
import { UploadError } from '../../core/errors.ts';
import { contentDigestsOf, parseDigestField } from '../http/digest-fields.ts';
import { FormFile, isForm } from '../http/form-file.ts';
import { rawBodyOf } from '../http/raw-body.ts';
import { meantType, type RangeRequest } from './request.ts';

/** The bytes that a request brings: its body, or the file of the form that is its body. */
export interface RequestBody {
  /** The object's content type, where the client meant one. */
  contentType(): Promise<string | undefined>;
  /** What the client states of it. */
  readonly digests: Digests;
  /** From here on the client may send it. */
  open(): Readable;
}

/** @throws UploadError `invalid_request` */
export function bodyOf(incoming: IncomingMessage, request: RangeRequest, idleMs: number): RequestBody {
  const digests = { ...reprDigestsOf(incoming, request), ...contentDigestsOf(incoming.headers) };
  if (!isForm(incoming.headers)) {
    return {
      digests,
      contentType: async () => meantType(incoming.headers['content-type']),
      open: () => rawBodyOf(incoming),
    };
  }
  if (Object.keys(digests).length > 0) {
    throw new UploadError(
      'invalid_request',
      'A digest of a form says nothing of its file. Send the bytes as they are.',
    );
  }
  const file = new FormFile(incoming, { sizeBytes: request.kind === 'chunk' ? request.sizeBytes : undefined, idleMs });
  return {
    digests,
    contentType: async () => meantType(await file.contentType()),
    open: () => file,
  };
}

/** Of a request that brings the whole object its `Repr-Digest` (RFC 9530, section 3) is that of its body. */
function reprDigestsOf({ headers }: IncomingMessage, { kind }: RangeRequest): Digests {
  const field = headers['repr-digest'];
  if (field === undefined) return {};
  if (kind === 'whole') return Object.fromEntries(parseDigestField(String(field), 'Repr-Digest'));
  throw new UploadError('invalid_request', 'Repr-Digest is of the whole object. Send Content-Digest with a chunk.', {
    details: { field: 'Repr-Digest' },
  });
}
