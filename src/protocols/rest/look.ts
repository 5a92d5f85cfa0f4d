import { createRoute, type OpenAPIHono } from '@hono/zod-openapi';
import { findUpload } from '../../core/find.ts';
import { requireScope } from '../../core/principal.ts';
import type { HttpEnv } from '../http/env.ts';
import { json, problem } from '../http/responses.ts';
import { uploadBody, uploadPath } from './contract.ts';
import type { RestDeps } from './front.ts';
import { renderUpload } from './render.ts';

const route = createRoute({
  method: 'get',
  path: '/uploads/{id}',
  summary: 'Look at an upload',
  request: { params: uploadPath },
  responses: { 200: json(uploadBody, 'The upload'), default: problem },
});

/** HEAD is answered by the same route, without the body. */
export function addLook(app: OpenAPIHono<HttpEnv>, deps: RestDeps): void {
  app.openapi(route, async (c) => {
    requireScope(c.get('principal'), 'uploads:read');
    const upload = await findUpload(deps.core, c.get('principal'), c.req.valid('param').id);
    c.header('Cache-Control', 'no-store');
    c.header('Upload-Offset', String(upload.offset));
    if (upload.sizeBytes !== undefined) c.header('Upload-Length', String(upload.sizeBytes));
    if (upload.etag !== undefined) c.header('ETag', upload.etag);
    return c.json(renderUpload(upload, deps), 200);
  });
}
