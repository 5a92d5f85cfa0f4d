import type { Context } from 'hono';
import { announceWriter } from '../../core/announce-writer.ts';
import { UploadError } from '../../core/errors.ts';
import type { LiveAttempt } from '../../core/live-attempts.ts';
import { stopWriter } from '../../core/stop-writer.ts';
import type { HttpEnv } from '../http/env.ts';
import { hasMediaType } from '../http/raw-body.ts';
import { answerCompleted } from './answer.ts';
import { append, contentOf } from './append.ts';
import { integerOf, uploadCompleteOf } from './fields.ts';
import { uploadOf } from './find.ts';
import type { IetfDeps } from './front.ts';
import { interopVersionOf } from './interop.ts';
import { completedUpload, inconsistentLength, mismatchingOffset } from './problems.ts';

/** `PATCH` of an upload resource: the next bytes, or the word that there are no more. */
export async function onPatch(c: Context<HttpEnv>, deps: IetfDeps): Promise<Response> {
  const writer = announceWriter(deps.core, c.req.param('id') ?? '');
  try {
    return await patchAs(c, deps, writer);
  } finally {
    writer.end();
  }
}

async function patchAs(c: Context<HttpEnv>, deps: IetfDeps, writer: LiveAttempt): Promise<Response> {
  const found = await uploadOf(c, deps);
  requireMediaType(c);
  const completes = uploadCompleteOf(c);
  const offset = integerOf(c, 'upload-offset');
  if (completes === undefined) throw missing('Upload-Complete', '?0 or ?1');
  if (offset === undefined) throw missing('Upload-Offset', 'a number of bytes');
  const content = contentOf(c, offset, completes);
  if (found.state === 'completed') {
    // "If the client attempted to append a non-zero length document, the server MUST treat this as an inconsistent length
    // failure."
    throw content.sizeBytes === 0 ? completedUpload() : inconsistentLength('The upload is completed.');
  }
  // "the server SHOULD prevent race conditions … by terminating the previous request before processing the new request".
  const upload = await stopWriter(deps.core, found, writer);
  // "the server MUST reject the request with a 409 (Conflict) status code".
  if (upload.offset !== offset) throw mismatchingOffset(upload.offset, offset);
  const after = await append(c, deps, upload, content, writer);
  if (after.state === 'completed') return answerCompleted(c, after);
  return c.body(null, 204, { 'Upload-Complete': '?0', 'Upload-Offset': String(after.offset) });
}

/** Since draft -04: "Require application/partial-upload for appending to uploads." */
function requireMediaType(c: Context<HttpEnv>): void {
  if (hasMediaType(c.env.incoming, 'application/partial-upload') || interopVersionOf(c) === 5) return;
  throw new UploadError('unsupported', 'Send Content-Type: application/partial-upload.');
}

function missing(field: string, wanted: string): UploadError {
  return new UploadError('invalid_request', `${field} is missing, or not ${wanted}.`, { details: { field } });
}
