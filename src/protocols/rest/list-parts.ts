import { createRoute, type OpenAPIHono } from '@hono/zod-openapi';
import { listParts } from '../../core/list-parts.ts';
import { requireScope } from '../../core/principal.ts';
import type { HttpEnv } from '../http/env.ts';
import { json, problem } from '../http/responses.ts';
import { partListBody, partsQuery, uploadPath } from './contract.ts';
import type { RestDeps } from './front.ts';
import { renderMissing, renderPart } from './render.ts';

const route = createRoute({
  method: 'get',
  path: '/uploads/{id}/parts',
  summary: 'List what is stored and what is missing',
  description: 'From the records alone: no call to the store. Carry on with the parts under `missing`.',
  request: { params: uploadPath, query: partsQuery },
  responses: { 200: json(partListBody, 'A page of slots'), default: problem },
});

export function addListParts(app: OpenAPIHono<HttpEnv>, deps: RestDeps): void {
  app.openapi(route, async (c) => {
    const principal = c.get('principal');
    requireScope(principal, 'uploads:read');
    const { upload, parts, missing, nextAfter } = await listParts(
      deps.core,
      { principal, uploadId: c.req.valid('param').id },
      c.req.valid('query'),
    );
    c.header('Cache-Control', 'no-store');
    c.header('Upload-Offset', String(upload.offset));
    return c.json(
      {
        parts: parts.map(renderPart),
        missing: missing.map(renderMissing),
        ...(nextAfter === undefined ? {} : { nextAfter }),
      },
      200,
    );
  });
}
