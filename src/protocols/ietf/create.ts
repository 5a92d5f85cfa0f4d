import { parse as parseDisposition } from 'content-disposition';
import type { Context } from 'hono';
import { abortUpload } from '../../core/abort.ts';
import { announceWriter } from '../../core/announce-writer.ts';
import { createUpload } from '../../core/create.ts';
import { requireScope } from '../../core/principal.ts';
import { baseUrlOf } from '../http/base-url.ts';
import { createdResponse } from '../http/created-response.ts';
import type { HttpEnv } from '../http/env.ts';
import { objectKeyOf } from '../http/object-key.ts';
import { answerCompleted } from './answer.ts';
import { append, contentOf } from './append.ts';
import { type IetfDeps, resourcePath } from './front.ts';
import { sendInterim } from './interim.ts';
import { interopHeader, interopVersionOf } from './interop.ts';
import { inconsistentLength } from './problems.ts';
import { declaredDigest } from './repr-digest.ts';
import { limitOf } from './upload-limit.ts';

/**
 * `POST`, `PUT` or `PATCH /objects/<key>` with `Upload-Complete`: "A client can start a resumable upload from any request that
 * can carry content by including the Upload-Complete header field".
 */
export async function onCreate(c: Context<HttpEnv>, deps: IetfDeps, completes: boolean): Promise<Response> {
  const principal = c.get('principal');
  requireScope(principal, 'uploads:write');
  const content = contentOf(c, 0, completes);
  const { totalBytes, sizeBytes = 0 } = content;
  if (totalBytes !== undefined && sizeBytes > totalBytes) {
    throw inconsistentLength(`There are ${sizeBytes} bytes of content, and Upload-Length is ${totalBytes}.`);
  }
  const upload = await createUpload(deps.core, {
    principal,
    protocol: 'ietf',
    bucket: c.req.query('bucket'),
    key: objectKeyOf(c.env.incoming.url ?? ''),
    sizeBytes: totalBytes,
    layout: 'undecided',
    contentType: c.req.header('content-type'),
    metadata: filenameOf(c.req.header('content-disposition')),
    digest: declaredDigest(c.req.header('repr-digest')),
    ifNoneMatch: c.req.header('if-none-match')?.trim() === '*',
  });
  const version = interopVersionOf(c);
  const headers = {
    Location: `${baseUrlOf(c, deps.publicUrl)}${resourcePath}/${upload.id}`,
    'Upload-Limit': limitOf(deps.core, upload, version),
  };
  // Once it is told where to go on, the client may ask there.
  const writer = announceWriter(deps.core, upload.id);
  // "When sent, it MUST include Location header field … and MUST include the Upload-Limit header field".
  if (version !== undefined) sendInterim(c.env.outgoing, { [interopHeader]: String(version), ...headers });
  const after = await append(c, deps, upload, content, writer)
    .catch(async (error: unknown) => {
      // Nobody was told where to go on: nothing is to be left of it.
      if (version === undefined) await abortUpload(deps.core, principal, upload.id).catch(() => undefined);
      throw error;
    })
    .finally(() => writer.end());
  if (after.state === 'completed') return answerCompleted(c, after, headers);
  // "If the request content was fully processed, the server MUST include the Location response header field".
  return createdResponse(c, { ...headers, 'Upload-Complete': '?0', 'Upload-Offset': String(after.offset) });
}

/** "The Content-Disposition header field can be used to transmit a filename." */
function filenameOf(field: string | undefined): Record<string, string> {
  if (field === undefined) return {};
  try {
    const { filename } = parseDisposition(field).parameters;
    return filename === undefined || filename === '' ? {} : { filename };
  } catch {
    return {};
  }
}
