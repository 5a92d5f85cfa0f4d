import type { Context } from 'hono';
import { UploadError } from '../../core/errors.ts';
import { stopWriter } from '../../core/stop-writer.ts';
import type { HttpEnv } from '../http/env.ts';
import { uploadOf } from './find.ts';
import type { IetfDeps } from './front.ts';
import { interopVersionOf } from './interop.ts';
import { limitOf } from './upload-limit.ts';

/** `HEAD` and `GET` of an upload resource: where it stands. Whoever was sending is ended. */
export async function onRetrieve(c: Context<HttpEnv>, deps: IetfDeps): Promise<Response> {
  for (const field of ['upload-offset', 'upload-complete']) {
    if (c.req.header(field) !== undefined) {
      throw new UploadError('invalid_request', `${field} has no meaning here.`, { details: { field } });
    }
  }
  const upload = await stopWriter(deps.core, await uploadOf(c, deps));
  const isCompleted = upload.state === 'completed';
  const { sizeBytes } = upload;
  return c.body(null, 204, {
    'Upload-Offset': String(isCompleted ? (sizeBytes ?? upload.offset) : upload.offset),
    'Upload-Complete': isCompleted ? '?1' : '?0',
    ...(sizeBytes === undefined ? {} : { 'Upload-Length': String(sizeBytes) }),
    'Upload-Limit': limitOf(deps.core, upload, interopVersionOf(c)),
    'Cache-Control': 'no-store',
  });
}
