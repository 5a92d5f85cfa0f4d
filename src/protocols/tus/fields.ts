import type { Context } from 'hono';
import { UploadError } from '../../core/errors.ts';
import type { HttpEnv } from '../http/env.ts';
import { hasMediaType } from '../http/raw-body.ts';

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
  return hasMediaType(c.env.incoming, 'application/offset+octet-stream');
}
