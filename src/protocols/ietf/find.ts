import type { Context } from 'hono';
import { findUpload, requireNotGone, requireOffset } from '../../core/find.ts';
import { requireScope } from '../../core/principal.ts';
import type { Upload } from '../../core/upload.ts';
import type { HttpEnv } from '../http/env.ts';
import type { IetfDeps } from './front.ts';

/** The upload of a resource. @throws UploadError `upload_not_found`, `upload_gone`, `forbidden`, `state_conflict` */
export async function uploadOf(c: Context<HttpEnv>, { core }: IetfDeps): Promise<Upload> {
  const principal = c.get('principal');
  requireScope(principal, 'uploads:write');
  const upload = await findUpload(core, principal, c.req.param('id') ?? '');
  requireNotGone(upload);
  requireOffset(upload);
  return upload;
}
