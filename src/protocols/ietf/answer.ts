import type { Context } from 'hono';
import type { Upload } from '../../core/upload.ts';
import type { HttpEnv } from '../http/env.ts';

/** What the resource that the upload was created at has to say: the object is there. */
export function answerCompleted(
  c: Context<HttpEnv>,
  upload: Upload,
  headers: Readonly<Record<string, string>> = {},
): Response {
  const { id, bucket, key, sizeBytes = 0, etag } = upload;
  return c.json({ id, state: upload.state, bucket, key, size: sizeBytes, etag }, 200, {
    ...headers,
    'Upload-Complete': '?1',
    'Upload-Offset': String(sizeBytes),
    'Cache-Control': 'no-store',
    ...(etag === undefined ? {} : { ETag: etag }),
  });
}
