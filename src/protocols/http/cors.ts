import type { MiddlewareHandler } from 'hono';
import type { HttpEnv } from './env.ts';

/** What scripts in browsers may read of answers, of all fronts. */
const exposed = [
  'Location',
  'ETag',
  'Content-Range',
  'Range',
  'Retry-After',
  'X-Request-Id',
  'Tus-Resumable',
  'Tus-Version',
  'Tus-Extension',
  'Tus-Max-Size',
  'Tus-Checksum-Algorithm',
  'Upload-Offset',
  'Upload-Length',
  'Upload-Defer-Length',
  'Upload-Metadata',
  'Upload-Expires',
  'Upload-Concat',
  'Upload-Complete',
  'Upload-Limit',
].join(', ');

const methods = 'GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS';
const daySeconds = 86_400;

/**
 * Cross-origin requests (Fetch standard, section 3.3 "CORS protocol") of these origins, or of all where one is `*`. Without
 * credentials of the browser: whoever calls sends a key. On Node's answer, since some are written past Hono's.
 */
export function allowOrigins(origins: readonly string[]): MiddlewareHandler<HttpEnv> {
  const isAny = origins.includes('*');
  return async (c, next) => {
    const { outgoing } = c.env;
    if (!isAny) outgoing.setHeader('Vary', 'Origin');
    const origin = c.req.header('origin');
    if (origin === undefined || !(isAny || origins.includes(origin))) return next();
    outgoing.setHeader('Access-Control-Allow-Origin', isAny ? '*' : origin);
    outgoing.setHeader('Access-Control-Expose-Headers', exposed);
    // An OPTIONS without this is of a protocol.
    if (c.req.method !== 'OPTIONS' || c.req.header('access-control-request-method') === undefined) return next();
    const asked = c.req.header('access-control-request-headers');
    return c.body(null, 204, {
      'Access-Control-Allow-Methods': methods,
      ...(asked === undefined ? {} : { 'Access-Control-Allow-Headers': asked }),
      'Access-Control-Max-Age': String(daySeconds),
    });
  };
}
