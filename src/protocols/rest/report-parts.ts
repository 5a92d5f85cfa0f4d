import { createRoute, type OpenAPIHono } from '@hono/zod-openapi';
import { requireScope } from '../../core/principal.ts';
import { reportParts } from '../../core/report-parts.ts';
import { parseDigestField } from '../http/digest-fields.ts';
import type { HttpEnv } from '../http/env.ts';
import { jsonBody } from '../http/json-body.ts';
import { json, problem } from '../http/responses.ts';
import { reportBody, uploadBody, uploadPath } from './contract.ts';
import type { RestDeps } from './front.ts';
import { renderUpload } from './render.ts';

const route = createRoute({
  method: 'post',
  path: '/uploads/{id}/parts',
  summary: 'Report parts that were sent straight to the store',
  middleware: jsonBody,
  request: { params: uploadPath, body: { required: true, content: { 'application/json': { schema: reportBody } } } },
  responses: { 200: json(uploadBody, 'The parts are on record'), default: problem },
});

export function addReportParts(app: OpenAPIHono<HttpEnv>, deps: RestDeps): void {
  app.openapi(route, async (c) => {
    const principal = c.get('principal');
    requireScope(principal, 'uploads:write');
    const upload = await reportParts(deps.core, {
      principal,
      uploadId: c.req.valid('param').id,
      parts: c.req.valid('json').parts.map(({ size, checksum, ...part }) => ({
        ...part,
        sizeBytes: size,
        digests: checksum === undefined ? undefined : Object.fromEntries(parseDigestField(checksum, 'checksum')),
      })),
    });
    return c.json(renderUpload(upload, deps), 200);
  });
}
