import type { OpenAPIHono } from '@hono/zod-openapi';
import { requireScope } from '../../core/principal.ts';
import { lookAtObject } from '../../core/read-object.ts';
import type { HttpEnv } from '../http/env.ts';
import { objectKeyOf } from '../http/object-key.ts';
import { problem } from '../http/responses.ts';
import { sendObject } from '../http/send-object.ts';
import type { RestDeps } from './front.ts';

const prefix = '/objects/';

/** `GET` and `HEAD /objects/<key>`; the key may contain slashes and is percent-decoded once. */
export function addReadObject(app: OpenAPIHono<HttpEnv>, deps: RestDeps): void {
  app.openAPIRegistry.registerPath({
    method: 'get',
    path: `${prefix}{key}`,
    summary: 'Read an object',
    parameters: [
      { name: 'key', in: 'path', required: true, schema: { type: 'string' } },
      { name: 'bucket', in: 'query', schema: { type: 'string' } },
      { name: 'Range', in: 'header', schema: { type: 'string' } },
      { name: 'If-None-Match', in: 'header', schema: { type: 'string' } },
    ],
    responses: {
      200: { description: 'The object' },
      206: { description: 'A range of it' },
      304: { description: 'Not modified' },
      default: problem,
    },
  });
  app.get(`${prefix}:key{[\\s\\S]+}`, async (c) => {
    const principal = c.get('principal');
    requireScope(principal, 'objects:read');
    const place = { principal, key: objectKeyOf(c.env.incoming.url ?? ''), bucket: c.req.query('bucket') };
    const facts = await lookAtObject(deps.core, place);
    if (matches(c.req.header('if-none-match'), facts.etag)) return c.body(null, 304, { ETag: facts.etag });
    return sendObject(c, deps.core, place, facts);
  });
}

/** RFC 9110, section 13.1.2: weak comparison, `*` matches what exists. */
function matches(ifNoneMatch: string | undefined, etag: string): boolean {
  const opaque = (tag: string) => tag.trim().replace(/^W\//, '');
  return ifNoneMatch?.split(',').some((tag) => opaque(tag) === '*' || opaque(tag) === opaque(etag)) ?? false;
}
