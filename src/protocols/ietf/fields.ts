import type { Context } from 'hono';
import { type BareItem, parseItem } from 'structured-headers';
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

function itemOf(text: string | undefined): BareItem | undefined {
  if (text === undefined) return undefined;
  try {
    return parseItem(text)[0];
  } catch {
    return undefined;
  }
}
