import type { Context } from 'hono';
import { UploadError } from '../../core/errors.ts';
import { requireSeen } from '../../core/find.ts';
import { requireScope } from '../../core/principal.ts';
import type { Upload } from '../../core/upload.ts';
import type { HttpEnv } from '../http/env.ts';
import { bodyLengthOf } from '../http/raw-body.ts';
import { append } from './append.ts';
import { checksumOf } from './checksum.ts';
import { isFinal } from './concat.ts';
import { hasChunkType, invalid, wholeNumberOf } from './fields.ts';
import { confirmed, requireUsable, uploadOf } from './find.ts';
import type { TusDeps } from './front.ts';
import { offsetHeaders, offsetOf } from './upload-headers.ts';

/** `PATCH /files/<id>`: the next bytes. */
export async function onPatch(c: Context<HttpEnv>, deps: TusDeps): Promise<Response> {
  const principal = c.get('principal');
  requireScope(principal, 'uploads:write');
  const name = `${principal.tenant} ${c.req.param('id')}`;
  const known = deps.recent.find(name);
  deps.recent.forget(name);
  if (known !== undefined) requireSeen(principal, known);
  const upload = known === undefined ? await uploadOf(c, deps) : requireUsable(known);
  // "The Server MUST respond with the 403 Forbidden status to PATCH requests against a final upload URL".
  if (isFinal(upload)) throw new UploadError('forbidden', 'A final upload has no bytes but those of its partial ones.');
  // "otherwise the server SHOULD return a 415 Unsupported Media Type status"
  if (!hasChunkType(c)) throw new UploadError('unsupported', 'Send Content-Type: application/offset+octet-stream.');
  const offset = wholeNumberOf(c, 'upload-offset');
  if (offset === undefined) throw invalid('Upload-Offset', 'is missing');
  const bodyBytes = bodyLengthOf(c.env.incoming);
  // Without bytes nothing else asks the records.
  const current = offsetOf(upload) === offset && bodyBytes !== 0 ? upload : await uploadOf(c, deps);
  requireOffset(current, offset);
  const totalBytes = totalOf(c, current);
  const digests = checksumOf(c.env.incoming);
  const moved =
    current.state === 'completed' && bodyBytes === 0
      ? current
      : await append(c, deps, current, { offset, bodyBytes, totalBytes, digests });
  const after = await confirmed(c, deps, moved);
  deps.recent.remember(name, after);
  return c.body(null, 204, offsetHeaders(after));
}

/** "If the offsets do not match, the Server MUST respond with the 409 Conflict status without modifying the upload resource." */
function requireOffset(upload: Upload, offset: number): void {
  const expected = offsetOf(upload);
  if (offset === expected) return;
  throw new UploadError('state_conflict', `The offset is ${expected}, not ${offset}.`, {
    details: { conflict: 'gap', offset: expected },
  });
}

/** "Once set the length MUST NOT be changed." */
function totalOf(c: Context<HttpEnv>, { sizeBytes }: Upload): number | undefined {
  const length = wholeNumberOf(c, 'upload-length');
  if (length === undefined || sizeBytes === undefined || length === sizeBytes) return length;
  throw invalid('Upload-Length', `is ${sizeBytes} already`);
}
