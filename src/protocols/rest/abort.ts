import { createRoute, type OpenAPIHono } from '@hono/zod-openapi';
import { abortUpload } from '../../core/abort.ts';
import { requireScope } from '../../core/principal.ts';
import type { HttpEnv } from '../http/env.ts';
import { problem } from '../http/responses.ts';
import { uploadPath } from './contract.ts';
import type { RestDeps } from './front.ts';

const route = createRoute({
  method: 'delete',
  path: '/uploads/{id}',
  summary: 'Abort an upload',
  request: { params: uploadPath },
  responses: { 204: { description: 'Aborted, now or before' }, default: problem },
});

export function addAbort(app: OpenAPIHono<HttpEnv>, deps: RestDeps): void {
  app.openapi(route, async (c) => {
    requireScope(c.get('principal'), 'uploads:write');
    await abortUpload(deps.core, c.get('principal'), c.req.valid('param').id);
    return c.body(null, 204);
  });
}
