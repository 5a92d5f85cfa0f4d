import type { Context } from 'hono';
import type { HttpEnv } from '../http/env.ts';

export const interopHeader = 'Upload-Draft-Interop-Version';

/** 5 = draft -03, 6 = -04 and -05, 7 = -06 to -08, 8 = -09 to -11, 9 = -12. */
const known = [5, 6, 7, 8, 9];

/** The version of the draft that a client speaks, if it is one that is spoken here. */
export function interopVersionOf(c: Context<HttpEnv>): number | undefined {
  const version = Number(c.req.header(interopHeader));
  return known.includes(version) ? version : undefined;
}
