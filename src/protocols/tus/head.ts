import type { Context } from 'hono';
import { askWriter } from '../../core/ask-writer.ts';
import { requireScope } from '../../core/principal.ts';
import type { HttpEnv } from '../http/env.ts';
import { concatHeaders, isFinal, sizeOfFinal } from './concat.ts';
import { confirmed, requireUsable, uploadOf } from './find.ts';
import type { TusDeps } from './front.ts';
import { expiryHeaders, metadataHeaders, offsetHeaders } from './upload-headers.ts';

/** `HEAD /files/<id>`: where to go on. A PATCH that hangs makes durable what it has brought, and is not ended. */
export async function onHead(c: Context<HttpEnv>, deps: TusDeps): Promise<Response> {
  requireScope(c.get('principal'), 'uploads:write');
  const found = await uploadOf(c, deps);
  const upload = isFinal(found) ? found : await confirmed(c, deps, requireUsable(await askWriter(deps.core, found)));
  // "The Upload-Length header MUST be included if the length of the final resource can be calculated at the time of the request."
  const sizeBytes = upload.sizeBytes ?? (isFinal(upload) ? await sizeOfFinal(deps, upload) : undefined);
  // "The response to a HEAD request for a final upload SHOULD NOT contain the Upload-Offset header unless the concatenation
  // has been successfully finished."
  const isJoining = isFinal(upload) && upload.state !== 'completed';
  return c.body(null, 200, {
    ...(isJoining ? expiryHeaders(upload) : offsetHeaders(upload)),
    ...concatHeaders(upload),
    // "As long as the length of the upload is not known, the Server MUST set Upload-Defer-Length: 1".
    ...(sizeBytes === undefined ? { 'Upload-Defer-Length': '1' } : { 'Upload-Length': String(sizeBytes) }),
    ...metadataHeaders(upload),
    'Cache-Control': 'no-store',
  });
}
