import type { Context } from 'hono';
import { type BareItem, parseItem } from 'structured-headers';
import { UploadError } from '../../core/errors.ts';
import type { HttpEnv } from '../http/env.ts';

/** "Its value is a Boolean … Other values MUST cause the entire header field to be ignored." */
export function uploadCompleteOf(c: Context<HttpEnv>): boolean | undefined {
  const value = itemOf(c.req.header('upload-complete'));
  return typeof value === 'boolean' ? value : undefined;
}

/** "Its value is a non-negative Integer … Other values MUST cause the entire header field to be ignored." */
export function integerOf(c: Context<HttpEnv>, name: 'upload-offset' | 'upload-length'): number | undefined {
  const text = c.req.header(name);
  const value = itemOf(text);
  // A Decimal is a number here, too.
  return typeof value === 'number' && value >= 0 && /^ *\d+ *(;|$)/.test(text ?? '') ? value : undefined;
}

/** The body's length; `undefined` where it ends when it ends. @throws UploadError `invalid_request` */
export function contentLengthOf(c: Context<HttpEnv>): number | undefined {
  if (c.env.incoming.headers['transfer-encoding'] !== undefined) return undefined;
  const length = Number(c.req.header('content-length') ?? 0);
  if (Number.isSafeInteger(length) && length >= 0) return length;
  throw new UploadError('invalid_request', 'Content-Length is not a number of bytes.');
}

function itemOf(text: string | undefined): BareItem | undefined {
  if (text === undefined) return undefined;
  try {
    return parseItem(text)[0];
  } catch {
    return undefined;
  }
}
