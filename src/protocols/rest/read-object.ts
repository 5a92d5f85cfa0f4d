import { pipeline } from 'node:stream/promises';
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response';
import type { OpenAPIHono } from '@hono/zod-openapi';
import type { Context } from 'hono';
import { ClientGoneError, UploadError } from '../../core/errors.ts';
import type { ByteRange, ObjectFacts } from '../../core/ports.ts';
import { requireScope } from '../../core/principal.ts';
import { lookAtObject, type ObjectPlace, readObject } from '../../core/read-object.ts';
import { parseRange } from '../http/byte-range.ts';
import type { HttpEnv } from '../http/env.ts';
import { objectKeyOf } from '../http/object-key.ts';
import { problem } from '../http/responses.ts';
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
    const range = isCurrent(c.req.header('if-range'), facts.etag)
      ? parseRange(c.req.header('range'), facts.sizeBytes)
      : undefined;
    if (c.req.method !== 'HEAD') return send(c, deps, place, facts, range);
    return c.body(null, 200, { ...headersOf(facts), 'Content-Length': String(facts.sizeBytes) });
  });
}

/** The object's bytes straight to the socket: a break must cut the answer off, never put words into it. */
async function send(
  c: Context<HttpEnv>,
  deps: RestDeps,
  place: ObjectPlace,
  facts: ObjectFacts,
  range: ByteRange | undefined,
): Promise<Response> {
  const { outgoing } = c.env;
  const gone = new AbortController();
  outgoing.on('close', () => gone.abort(new ClientGoneError('the client left before the object came')));
  const object = await readObject(deps.core, { ...place, range, signal: gone.signal });
  if (object.etag !== facts.etag) {
    object.body.destroy();
    throw new UploadError('busy', 'The object was just replaced. Try again.', { retryAfterSeconds: 1 });
  }
  outgoing.writeHead(range === undefined ? 200 : 206, {
    ...headersOf(facts),
    'X-Request-Id': c.get('requestId'),
    'Content-Length': range === undefined ? facts.sizeBytes : range.last - range.first + 1,
    ...(range === undefined ? {} : { 'Content-Range': `bytes ${range.first}-${range.last}/${facts.sizeBytes}` }),
  });
  await pipeline(object.body, outgoing).catch(() => outgoing.destroy());
  return RESPONSE_ALREADY_SENT;
}

function headersOf(facts: ObjectFacts): Record<string, string> {
  return {
    'Content-Type': facts.contentType ?? 'application/octet-stream',
    ETag: facts.etag,
    'Accept-Ranges': 'bytes',
    ...(facts.lastModified === undefined ? {} : { 'Last-Modified': facts.lastModified.toUTCString() }),
    // What a client uploaded must not run as a page of this origin.
    'X-Content-Type-Options': 'nosniff',
    'Content-Security-Policy': "sandbox; default-src 'none'",
  };
}

/** RFC 9110, section 13.1.5: a range of another version is no use; only a strong ETag can tell. */
function isCurrent(ifRange: string | undefined, etag: string): boolean {
  return ifRange === undefined || ifRange.trim() === etag;
}

/** RFC 9110, section 13.1.2: weak comparison, `*` matches what exists. */
function matches(ifNoneMatch: string | undefined, etag: string): boolean {
  const opaque = (tag: string) => tag.trim().replace(/^W\//, '');
  return ifNoneMatch?.split(',').some((tag) => opaque(tag) === '*' || opaque(tag) === opaque(etag)) ?? false;
}
