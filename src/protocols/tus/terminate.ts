import type { Context } from 'hono';
import { abortUpload } from '../../core/abort.ts';
import { deleteCompleted } from '../../core/delete-completed.ts';
import { UploadError } from '../../core/errors.ts';
import { requireScope } from '../../core/principal.ts';
import type { HttpEnv } from '../http/env.ts';
import { uploadOf } from './find.ts';
import type { TusDeps } from './front.ts';

/** `DELETE /files/<id>`: "for the Client to terminate completed and unfinished uploads". */
export async function onDelete(c: Context<HttpEnv>, deps: TusDeps): Promise<Response> {
  const principal = c.get('principal');
  requireScope(principal, 'uploads:write');
  const upload = await uploadOf(c, deps);
  deps.recent.forget(`${principal.tenant} ${upload.id}`);
  if (upload.state !== 'completed') await abortUpload(deps.core, principal, upload.id);
  else if (upload.protocol === 'tus') await deleteCompleted(deps.core, upload);
  else throw new UploadError('forbidden', 'The object was made by another protocol: it is not deleted by this one.');
  return c.body(null, 204);
}
