import type { Context } from 'hono';
import { abortUpload } from '../../core/abort.ts';
import { completeWhole } from '../../core/complete-whole.ts';
import { createUpload } from '../../core/create.ts';
import { UploadError } from '../../core/errors.ts';
import { findUpload } from '../../core/find.ts';
import { isWhole } from '../../core/is-whole.ts';
import { requireScope } from '../../core/principal.ts';
import type { Upload } from '../../core/upload.ts';
import { publicUrlOf } from '../http/base-url.ts';
import { createdResponse } from '../http/created-response.ts';
import type { HttpEnv } from '../http/env.ts';
import { bodyLengthOf } from '../http/raw-body.ts';
import { append } from './append.ts';
import { checksumOf } from './checksum.ts';
import { createFinal, parseConcat } from './concat.ts';
import { hasChunkType, invalid, wholeNumberOf } from './fields.ts';
import { type TusDeps, tusPath } from './front.ts';
import { meaningOf, parseMetadata } from './metadata.ts';
import { expiryHeaders, offsetHeaders } from './upload-headers.ts';

/** `POST /files`: a new upload, with its first bytes where the body has some. */
export async function onCreate(c: Context<HttpEnv>, deps: TusDeps): Promise<Response> {
  const principal = c.get('principal');
  requireScope(principal, 'uploads:write');
  const uploadConcat = c.req.header('upload-concat');
  const concat = uploadConcat === undefined ? undefined : parseConcat(uploadConcat);
  const uploadMetadata = c.req.header('upload-metadata') ?? '';
  const meaning = meaningOf(uploadMetadata === '' ? new Map() : parseMetadata(uploadMetadata));
  const front = { uploadMetadata, ...(uploadConcat !== undefined && { uploadConcat }) };
  if (concat?.kind === 'final') {
    // "The Client MUST NOT include the Upload-Length header in the final upload creation."
    if (c.req.header('upload-length') !== undefined) throw invalid('Upload-Length', 'is the sum of the partial ones');
    const final = await createFinal(c, deps, { ...meaning, front, ids: concat.ids });
    return createdResponse(c, { ...locationHeaders(deps, final), ...expiryHeaders(final) });
  }
  const sizeBytes = sizeOf(c);
  const bodyBytes = hasChunkType(c) ? bodyLengthOf(c.env.incoming) : 0;
  const digests = bodyBytes === 0 ? undefined : checksumOf(c.env.incoming);
  if (sizeBytes !== undefined && (bodyBytes ?? 0) > sizeBytes) throw tooLong(sizeBytes);
  const created = await createUpload(deps.core, {
    principal,
    protocol: 'tus',
    sizeBytes,
    layout: 'undecided',
    isSelfCompleting: true,
    ...meaning,
    front,
    isPartial: concat !== undefined,
  });
  const location = locationHeaders(deps, created);
  if (bodyBytes !== 0) {
    const upload = await withFirstBytes(c, deps, created, { bodyBytes, digests });
    return createdResponse(c, { ...location, ...offsetHeaders(upload) });
  }
  // "Such an upload is immediately complete after its creation without transferring data using PATCH requests."
  const upload = sizeBytes === 0 ? await confirmedAtOnce(c, deps, created) : created;
  return createdResponse(c, { ...location, ...expiryHeaders(upload) });
}

function locationHeaders(deps: TusDeps, { id }: Upload): { readonly Location: string } {
  return { Location: `${publicUrlOf(deps)}${tusPath}/${id}` };
}

function sizeOf(c: Context<HttpEnv>): number | undefined {
  const length = wholeNumberOf(c, 'upload-length');
  const deferred = c.req.header('upload-defer-length');
  // "If the Upload-Defer-Length header contains any other value than 1 the server should return a 400 Bad Request status."
  if (deferred !== undefined && deferred !== '1') throw invalid('Upload-Defer-Length', 'can only be 1');
  // "The request MUST include one of the following headers"
  if (length !== undefined && deferred !== undefined)
    throw invalid('Upload-Defer-Length', 'goes without Upload-Length');
  if (length === undefined && deferred === undefined) {
    throw invalid('Upload-Length', 'is missing: send it, or Upload-Defer-Length: 1');
  }
  return length;
}

/**
 * "The Server SHOULD accept as many bytes as possible and MUST include the Upload-Offset header": where the store fails, its
 * client hears of the upload, and of what is kept. Of one whose client never hears nothing stays.
 */
async function withFirstBytes(
  c: Context<HttpEnv>,
  deps: TusDeps,
  created: Upload,
  { bodyBytes, digests }: { readonly bodyBytes: number | undefined; readonly digests: ReturnType<typeof checksumOf> },
): Promise<Upload> {
  try {
    return await append(c, deps, created, { offset: 0, bodyBytes, digests, totalBytes: undefined });
  } catch (error) {
    const principal = c.get('principal');
    if (error instanceof UploadError && isFault(error))
      return keptOf(await findUpload(deps.core, principal, created.id));
    await abortUpload(deps.core, principal, created.id).catch(() => undefined);
    throw error;
  }
}

/** A client takes an offset that is the length for the end: one byte less, until the store has made the object, has it ask. */
function keptOf(upload: Upload): Upload {
  const isUnconfirmed = isWhole(upload) && upload.state !== 'completed' && upload.offset > 0;
  return isUnconfirmed ? { ...upload, offset: upload.offset - 1 } : upload;
}

function isFault({ code }: UploadError): boolean {
  return code === 'busy' || code === 'overloaded' || code.startsWith('store_');
}

/** Its client asks no more: it takes the answer for the end. */
async function confirmedAtOnce(c: Context<HttpEnv>, deps: TusDeps, created: Upload): Promise<Upload> {
  const principal = c.get('principal');
  try {
    return await completeWhole(deps.core, { principal, upload: created });
  } catch (error) {
    await abortUpload(deps.core, principal, created.id).catch(() => undefined);
    throw error;
  }
}

function tooLong(sizeBytes: number): UploadError {
  return new UploadError('state_conflict', `The body is longer than the ${sizeBytes} bytes of the upload.`, {
    details: { conflict: 'size', expectedSize: sizeBytes },
  });
}
