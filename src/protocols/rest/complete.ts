import { createRoute, type OpenAPIHono } from '@hono/zod-openapi';
import { completeUpload } from '../../core/complete.ts';
import { requireScope } from '../../core/principal.ts';
import type { HttpEnv } from '../http/env.ts';
import { optionalJsonBody } from '../http/json-body.ts';
import { json, problem } from '../http/responses.ts';
import { completeBody, uploadBody, uploadPath } from './contract.ts';
import type { RestDeps } from './front.ts';
import { renderUpload } from './render.ts';
import { reprDigestHeader, wholeDigestOf } from './whole-digest.ts';

const route = createRoute({
  method: 'post',
  path: '/uploads/{id}/complete',
  summary: 'Make the object',
  description: 'Repeated, it gets the same answer. The body may be left out.',
  middleware: optionalJsonBody,
  request: {
    params: uploadPath,
    headers: reprDigestHeader,
    body: { content: { 'application/json': { schema: completeBody } } },
  },
  responses: {
    200: json(uploadBody, 'The store has confirmed the object'),
    202: json(uploadBody, 'It goes on: ask again after Retry-After'),
    default: problem,
  },
});

export function addComplete(app: OpenAPIHono<HttpEnv>, deps: RestDeps): void {
  app.openapi(route, async (c) => {
    const principal = c.get('principal');
    requireScope(principal, 'uploads:write');
    const { parts, size, digest } = c.req.valid('json');
    const outcome = await completeUpload(deps.core, {
      principal,
      uploadId: c.req.valid('param').id,
      parts,
      sizeBytes: size,
      digest: wholeDigestOf({ digest }, c.req.valid('header')),
    });
    const body = renderUpload(outcome.upload, deps);
    if (outcome.kind === 'pending') return c.json(body, 202, { 'Retry-After': String(outcome.retryAfterSeconds) });
    return c.json(body, 200, outcome.upload.etag === undefined ? {} : { ETag: outcome.upload.etag });
  });
}
