import { create as contentDisposition } from 'content-disposition';
import type { Context } from 'hono';
import { tokenMetadataName } from '../../core/create.ts';
import { UploadError } from '../../core/errors.ts';
import { requireScope } from '../../core/principal.ts';
import { lookAtObject } from '../../core/read-object.ts';
import type { HttpEnv } from '../http/env.ts';
import { sendObject } from '../http/send-object.ts';
import { isPartial } from './concat.ts';
import { uploadOf } from './find.ts';
import type { TusDeps } from './front.ts';

/** Shown by a browser as they are: none of them can hold a script. */
const harmless = /^(image\/(png|jpeg|gif|webp|avif|bmp)|(audio|video)\/[\w.+-]+|text\/plain)\s*(;|$)/i;

/** `GET /files/<id>`: the bytes, once the upload is completed. */
export async function onGet(c: Context<HttpEnv>, deps: TusDeps): Promise<Response> {
  const principal = c.get('principal');
  requireScope(principal, 'objects:read');
  const upload = await uploadOf(c, deps);
  if (upload.state !== 'completed') throw new UploadError('object_not_found', 'The upload is not completed yet.');
  if (isPartial(upload)) throw new UploadError('object_not_found', 'A partial upload is no object by itself.');
  const place = { principal, bucket: upload.bucket, key: upload.key };
  const facts = await lookAtObject(deps.core, place);
  if (facts.metadata[tokenMetadataName] !== upload.token) {
    throw new UploadError('object_not_found', 'Another object has taken the place of this one.');
  }
  const type = harmless.test(facts.contentType ?? '') ? 'inline' : 'attachment';
  return sendObject(c, deps.core, place, facts, {
    'Content-Disposition': contentDisposition(upload.metadata.filename, { type }),
  });
}
