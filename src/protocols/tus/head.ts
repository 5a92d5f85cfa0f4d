import type { Context } from 'hono';
import { askWriter } from '../../core/ask-writer.ts';
import type { HttpEnv } from '../http/env.ts';
import { confirmed, requireUsable, uploadOf } from './find.ts';
import type { TusDeps } from './front.ts';
import { metadataHeaders, offsetHeaders } from './upload-headers.ts';

/** `HEAD /files/<id>`: where to go on. A PATCH that hangs makes durable what it has brought, and is not ended. */
export async function onHead(c: Context<HttpEnv>, deps: TusDeps): Promise<Response> {
  const asked = requireUsable(await askWriter(deps.core, await uploadOf(c, deps)));
  const upload = await confirmed(c, deps, asked);
  const { sizeBytes } = upload;
  return c.body(null, 200, {
    ...offsetHeaders(upload),
    // "As long as the length of the upload is not known, the Server MUST set Upload-Defer-Length: 1".
    ...(sizeBytes === undefined ? { 'Upload-Defer-Length': '1' } : { 'Upload-Length': String(sizeBytes) }),
    ...metadataHeaders(upload),
    'Cache-Control': 'no-store',
  });
}
