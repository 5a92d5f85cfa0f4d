import type { Context } from 'hono';
import type { HttpEnv } from './env.ts';
import { problemResponse } from './problem.ts';

/** RFC 9110, section 15.5.6: "The origin server MUST generate an Allow header field in a 405 response". */
export function notAllowed(c: Context<HttpEnv>, methods: readonly string[]): Response {
  const allow = methods.join(', ');
  c.env.outgoing.setHeader('Allow', allow);
  return problemResponse({
    status: 405,
    requestId: c.get('requestId'),
    body: { title: 'Method not allowed', detail: `Here are ${allow}.`, code: 'method_not_allowed' },
  });
}
