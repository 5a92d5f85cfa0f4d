import { createRoute, type OpenAPIHono, z } from '@hono/zod-openapi';
import { createUpload } from '../../core/create.ts';
import { requireScope } from '../../core/principal.ts';
import { publicUrlOf } from '../http/base-url.ts';
import type { HttpEnv } from '../http/env.ts';
import { jsonBody } from '../http/json-body.ts';
import { json, problem } from '../http/responses.ts';
import { createBody, uploadBody } from './contract.ts';
import type { RestDeps } from './front.ts';
import { renderUpload } from './render.ts';
import { reprDigestHeader, wholeDigestOf } from './whole-digest.ts';

const route = createRoute({
  method: 'post',
  path: '/uploads',
  summary: 'Create an upload',
  middleware: jsonBody,
  request: {
    headers: reprDigestHeader.extend({
      'idempotency-key': z.string().min(1).max(255).optional().openapi({
        description: 'The same key and body again get the same upload',
      }),
    }),
    body: { required: true, content: { 'application/json': { schema: createBody } } },
  },
  responses: {
    201: { ...json(uploadBody, 'The upload'), headers: z.object({ Location: z.string() }) },
    default: problem,
  },
});

export function addCreate(app: OpenAPIHono<HttpEnv>, deps: RestDeps): void {
  app.openapi(route, async (c) => {
    const principal = c.get('principal');
    requireScope(principal, 'uploads:write');
    const { size, partSize, digest, ifNoneMatch, expiresIn, ...body } = c.req.valid('json');
    const upload = await createUpload(deps.core, {
      principal,
      protocol: 'rest',
      ...body,
      sizeBytes: size,
      partSizeBytes: partSize,
      digest: wholeDigestOf({ digest }, c.req.valid('header')),
      ifNoneMatch: ifNoneMatch === '*',
      expiresInSeconds: expiresIn,
      idempotencyKey: c.req.valid('header')['idempotency-key'],
    });
    const url = publicUrlOf(deps);
    return c.json(renderUpload(upload, deps), 201, { Location: `${url}/uploads/${upload.id}` });
  });
}
