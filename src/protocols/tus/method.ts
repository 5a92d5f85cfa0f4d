import type { Context } from 'hono';
import type { HttpEnv } from '../http/env.ts';

/**
 * "The X-HTTP-Method-Override request header MUST be a string which MUST be interpreted as the request's method by the
 * Server, if the header is presented. The actual method of the request MUST be ignored."
 */
export function methodOf(c: Context<HttpEnv>): string {
  const override = c.req.header('x-http-method-override')?.trim().toUpperCase();
  return override === undefined || override === '' ? c.req.method : override;
}
