import type { Hono } from 'hono';
import { abortUpload } from '../../core/abort.ts';
import type { HttpEnv } from '../http/env.ts';
import { type GoogleDeps, uploadPath } from './front.ts';
import { openSession } from './session.ts';

/** Client Closed Request: what Cloud Storage answers to a session that is cancelled. */
const cancelled = 499;

export function addCancel(app: Hono<HttpEnv>, deps: GoogleDeps): void {
  app.delete(uploadPath, async (c) => {
    const { id } = await openSession(c, deps);
    await abortUpload(deps.core, c.get('principal'), id);
    return new Response(null, { status: cancelled, headers: { 'Content-Length': '0' } });
  });
}
