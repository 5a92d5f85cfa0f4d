import type { Context } from 'hono';
import { UploadError } from '../../core/errors.ts';
import type { HttpEnv } from '../http/env.ts';

/** @throws UploadError `invalid_request` where the header is there and is not "a non-negative integer" */
export function wholeNumberOf(c: Context<HttpEnv>, name: string): number | undefined {
  const text = c.req.header(name);
  if (text === undefined) return undefined;
  const value = Number(text);
  if (/^\d+$/.test(text) && Number.isSafeInteger(value)) return value;
  throw invalid(name, 'is not a number of bytes');
}

export function invalid(field: string, fault: string): UploadError {
  return new UploadError('invalid_request', `${field} ${fault}.`, { details: { field } });
}

/** "All PATCH requests MUST use Content-Type: application/offset+octet-stream" */
export function hasChunkType(c: Context<HttpEnv>): boolean {
  const [type = ''] = (c.req.header('content-type') ?? '').split(';', 1);
  return type.trim().toLowerCase() === 'application/offset+octet-stream';
}

/** The body's length; `undefined` where it ends when it ends. @throws UploadError `invalid_request` */
export function bodyLengthOf(c: Context<HttpEnv>): number | undefined {
  if (c.env.incoming.headers['transfer-encoding'] !== undefined) return undefined;
  return wholeNumberOf(c, 'content-length') ?? 0;
}
