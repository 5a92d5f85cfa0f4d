import type { IncomingMessage } from 'node:http';
import type { MiddlewareHandler } from 'hono';
import { ClientGoneError, UploadError } from '../../core/errors.ts';
import type { HttpEnv } from './env.ts';
import { hasBody, rawBodyOf } from './raw-body.ts';

/** 10,000 parts with their ETags and checksums fit. */
const largestJsonBytes = 4 * 1024 * 1024;

/** For routes with a JSON body: its type, its size and its pace are bounded; none at all counts as `{}`. */
export const jsonBody: MiddlewareHandler<HttpEnv> = async (c, next) => {
  const { incoming } = c.env;
  const isGiven = hasBody(incoming);
  // Also keeps web pages from writing: a cross-origin request with this type asks first.
  if (isGiven && !/^application\/json\s*(;|$)/i.test(c.req.header('content-type') ?? '')) {
    throw new UploadError('invalid_request', 'Send JSON, with Content-Type: application/json.', {
      details: { field: 'Content-Type' },
    });
  }
  const body = isGiven ? await readBody(incoming, c.get('bodyIdleMs')) : '{}';
  c.req.raw = new Request(c.req.url, {
    method: c.req.method,
    headers: { ...c.req.header(), 'content-type': 'application/json' },
    body,
  });
  await next();
};

/** @throws UploadError `limit_exceeded`, `body_timeout`; ClientGoneError */
async function readBody(incoming: IncomingMessage, idleMs: number): Promise<Buffer> {
  if (Number(incoming.headers['content-length'] ?? 0) > largestJsonBytes) throw tooLarge();
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  return new Promise((resolve, reject) => {
    const body = rawBodyOf(incoming);
    const idle = setTimeout(() => {
      reject(new UploadError('body_timeout', `No byte came for ${idleMs / 1000} seconds.`));
    }, idleMs);
    body.on('data', (chunk: Buffer) => {
      idle.refresh();
      sizeBytes += chunk.length;
      if (sizeBytes > largestJsonBytes) reject(tooLarge());
      else chunks.push(chunk);
    });
    body.on('end', () => resolve(Buffer.concat(chunks)));
    body.on('close', () => {
      clearTimeout(idle);
      reject(new ClientGoneError('the client closed its connection in a JSON body'));
    });
  });
}

function tooLarge(): UploadError {
  return new UploadError('limit_exceeded', `A JSON body may have ${largestJsonBytes} bytes at most.`, {
    details: { limit: largestJsonBytes },
  });
}
