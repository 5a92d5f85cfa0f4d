import type { IncomingMessage } from 'node:http';
import type { Readable } from 'node:stream';
import type { Digests } from '../../core/digest.ts';
import { UploadError } from '../../core/errors.ts';
import { contentDigestsOf } from '../http/digest-fields.ts';
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
  const digests = contentDigestsOf(incoming.headers);
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
