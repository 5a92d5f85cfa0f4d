import type { Context } from 'hono';
import type { HttpEnv } from '../http/env.ts';
import type { IetfDeps } from './front.ts';
import { generalLimit } from './upload-limit.ts';

/** "A client can use an OPTIONS request to discover whether the resource supports resumable uploads and to learn potential limits". */
export function onOptions(c: Context<HttpEnv>, { core }: IetfDeps): Response {
  return c.body(null, 204, {
    // "the server MUST include the Accept-Patch header field in the response".
    'Accept-Patch': 'application/partial-upload',
    'Upload-Limit': generalLimit(core),
    'Cache-Control': 'no-store',
  });
}
