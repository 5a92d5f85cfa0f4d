import { pipeline } from 'node:stream/promises';
import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response';
import type { Context } from 'hono';
import type { Deps } from '../../core/deps.ts';
import { ClientGoneError, UploadError } from '../../core/errors.ts';
import type { ByteRange, ObjectFacts } from '../../core/object-store.ts';
import { type ObjectPlace, readObject } from '../../core/read-object.ts';
import { parseRange } from './byte-range.ts';
import type { HttpEnv } from './env.ts';

/**
 * Answers `GET` with the object or the range of it that is asked for, and `HEAD` with its headers.
 * @param extra headers besides those that every object has, or in their place
 * @throws UploadError `object_not_found`, `range_not_satisfiable`, `store_*`
 */
export async function sendObject(
  c: Context<HttpEnv>,
  deps: Deps,
  place: ObjectPlace,
  facts: ObjectFacts,
  extra: Readonly<Record<string, string>> = {},
): Promise<Response> {
  const range = isCurrent(c.req.header('if-range'), facts.etag)
    ? parseRange(c.req.header('range'), facts.sizeBytes)
    : undefined;
  const headers = { ...headersOf(facts), ...extra };
  if (c.req.method !== 'HEAD') return send(c, deps, place, facts, { range, headers });
  return c.body(null, 200, { ...headers, 'Content-Length': String(facts.sizeBytes) });
}

/** The object's bytes straight to the socket: a break must cut the answer off, never put words into it. */
async function send(
  c: Context<HttpEnv>,
  deps: Deps,
  place: ObjectPlace,
  facts: ObjectFacts,
  { range, headers }: { readonly range: ByteRange | undefined; readonly headers: Readonly<Record<string, string>> },
): Promise<Response> {
  const { outgoing } = c.env;
  const gone = new AbortController();
  outgoing.on('close', () => gone.abort(new ClientGoneError('the client left before the object came')));
  const object = await readObject(deps, { ...place, range, signal: gone.signal });
  if (object.etag !== facts.etag) {
    object.body.destroy();
    throw new UploadError('busy', 'The object was just replaced. Try again.', { retryAfterSeconds: 1 });
  }
  outgoing.writeHead(range === undefined ? 200 : 206, {
    ...headers,
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
