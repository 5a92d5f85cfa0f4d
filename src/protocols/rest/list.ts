import { createRoute, type OpenAPIHono } from '@hono/zod-openapi';
import { UploadError } from '../../core/errors.ts';
import { listUploads } from '../../core/list-uploads.ts';
import { requireScope } from '../../core/principal.ts';
import type { ListCursor } from '../../core/upload-records.ts';
import type { HttpEnv } from '../http/env.ts';
import { json, problem } from '../http/responses.ts';
import { listQuery, uploadListBody } from './contract.ts';
import type { RestDeps } from './front.ts';
import { renderUpload } from './render.ts';

const route = createRoute({
  method: 'get',
  path: '/uploads',
  summary: 'List uploads, newest first',
  request: { query: listQuery },
  responses: { 200: json(uploadListBody, 'A page of uploads'), default: problem },
});

export function addList(app: OpenAPIHono<HttpEnv>, deps: RestDeps): void {
  app.openapi(route, async (c) => {
    const principal = c.get('principal');
    requireScope(principal, 'uploads:read');
    const { state, prefix, bucket, limit, cursor } = c.req.valid('query');
    const { uploads, next } = await listUploads(
      deps.core,
      principal,
      { state, bucket, keyPrefix: prefix },
      { limit, after: cursor === undefined ? undefined : parseCursor(cursor) },
    );
    return c.json(
      {
        uploads: uploads.map((upload) => renderUpload(upload, deps)),
        ...(next === undefined ? {} : { nextCursor: formatCursor(next) }),
      },
      200,
    );
  });
}

function formatCursor({ createdAtMicros, id }: ListCursor): string {
  return Buffer.from(`${createdAtMicros}.${id}`).toString('base64url');
}

function parseCursor(text: string): ListCursor {
  const [, micros, id] = /^(\d{1,16})\.([0-9a-f]{1,64})$/.exec(Buffer.from(text, 'base64url').toString()) ?? [];
  if (micros !== undefined && id !== undefined) return { createdAtMicros: Number(micros), id };
  throw new UploadError('invalid_request', 'cursor is not one that a list returned.', { details: { field: 'cursor' } });
}
