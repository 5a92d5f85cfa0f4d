import type { Context } from 'hono';
import type { HttpEnv } from './env.ts';

/** 201 without a body, and says so: else Node would send an empty one in chunks. */
export function createdResponse(c: Context<HttpEnv>, headers: Readonly<Record<string, string>>): Response {
  return c.body(null, 201, { 'Content-Length': '0', ...headers });
}
