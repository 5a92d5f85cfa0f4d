import type { Context } from 'hono';
import type { HttpEnv } from './env.ts';

/** What absolute URLs in answers begin with: the URL that clients use, or where it is not set the one that this one used. */
export function baseUrlOf(c: Context<HttpEnv>, publicUrl: string | undefined): string {
  return (publicUrl ?? new URL(c.req.url).origin).replace(/\/$/, '');
}
