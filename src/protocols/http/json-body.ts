import type { IncomingMessage } from 'node:http';
import type { MiddlewareHandler } from 'hono';
import { ClientGoneError, UploadError } from '../../core/errors.ts';
import type { HttpEnv } from './env.ts';
import { hasBody, rawBodyOf } from './raw-body.ts';

/** 10,000 parts with their ETags and checksums fit. */
const largestJsonBytes = 4 * 1024 * 1024;
/** Such a body is held in memory: nobody may make it last. */
const longestMs = 120_000;

/** Also keeps web pages from writing: a cross-origin request with such a type asks first. */
const jsonType = /^application\/(json|[a-z0-9.-]+\+json)\s*(;|$)/i;

/** For routes with a JSON body: its type, its size and its pace are bounded. */
export const jsonBody: MiddlewareHandler<HttpEnv> = async (c, next) => {
  const { incoming } = c.env;
  if (!jsonType.test(c.req.header('content-type') ?? '')) {
    throw new UploadError('invalid_request', 'Send JSON, with Content-Type: application/json.', {
      details: { field: 'Content-Type' },
    });
  }
  const announcedBytes = Number(incoming.headers['content-length'] ?? largestJsonBytes);
  if (announcedBytes > largestJsonBytes) throw tooLarge();
  const body = await c.get('admission').admit(announcedBytes, () => readBody(incoming, c.get('bodyIdleMs')));
  // Such a member is lost on the way through objects, and could do worse.
  if (body.includes('"__proto__"')) throw new UploadError('invalid_request', 'No member may be named __proto__.');
  c.req.raw = new Request(c.req.url, {
    method: c.req.method,
    headers: { ...c.req.header(), 'content-type': 'application/json' },
    body,
  });
  await next();
};

/** The same where the body may be left out, which counts as `{}`. */
export const optionalJsonBody: MiddlewareHandler<HttpEnv> = async (c, next) => {
  if (hasBody(c.env.incoming)) return jsonBody(c, next);
  c.req.raw = new Request(c.req.url, {
    method: c.req.method,
    headers: { ...c.req.header(), 'content-type': 'application/json' },
    body: '{}',
  });
  await next();
};

/** @throws UploadError `limit_exceeded`, `body_timeout`; ClientGoneError */
async function readBody(incoming: IncomingMessage, idleMs: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  return new Promise((resolve, reject) => {
    const body = rawBodyOf(incoming);
    const tooSlow = (ms: number) =>
      setTimeout(() => reject(new UploadError('body_timeout', `The body took longer than ${ms / 1000} seconds.`)), ms);
    const idle = tooSlow(idleMs);
    const whole = tooSlow(longestMs);
    body.on('data', (chunk: Buffer) => {
      idle.refresh();
      sizeBytes += chunk.length;
      if (sizeBytes > largestJsonBytes) reject(tooLarge());
      else chunks.push(chunk);
    });
    body.on('end', () => resolve(Buffer.concat(chunks)));
    body.on('close', () => {
      clearTimeout(idle);
      clearTimeout(whole);
      reject(new ClientGoneError('the client closed its connection in a JSON body'));
    });
  });
}

function tooLarge(): UploadError {
  return new UploadError('limit_exceeded', `A JSON body may have ${largestJsonBytes} bytes at most.`, {
    details: { limit: largestJsonBytes },
  });
}
