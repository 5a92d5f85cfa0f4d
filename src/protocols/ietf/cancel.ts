import type { Context } from 'hono';
import { abortUpload } from '../../core/abort.ts';
import { stopWriter } from '../../core/stop-writer.ts';
import type { HttpEnv } from '../http/env.ts';
import { uploadOf } from './find.ts';
import type { IetfDeps } from './front.ts';
import { completedUpload } from './problems.ts';

/** `DELETE` of an upload resource: "the client is no longer interested in continuing the upload". */
export async function onCancel(c: Context<HttpEnv>, deps: IetfDeps): Promise<Response> {
  const upload = await uploadOf(c, deps);
  if (upload.state === 'completed') throw completedUpload();
  // "The server SHOULD terminate any in-flight requests to the upload resource before sending the response".
  await stopWriter(deps.core, upload);
  await abortUpload(deps.core, c.get('principal'), upload.id);
  return c.body(null, 204);
}
