import { createHash } from 'node:crypto';
import type { S3Client } from '@aws-sdk/client-s3';

interface HttpRequest {
  headers: Record<string, string>;
  body?: unknown;
}

interface HttpResponse {
  headers: Record<string, string>;
}

/** DeleteObjects must carry a digest. Every store takes Content-MD5; older ones know none of the SDK's checksums. */
export function sendContentMd5(client: S3Client): void {
  client.middlewareStack.add(
    (next, context) => (args) => {
      const request = args.request as HttpRequest;
      if (context.commandName === 'DeleteObjectsCommand' && typeof request.body === 'string') {
        for (const name of Object.keys(request.headers)) {
          if (/^x-amz-(checksum-|sdk-checksum-)/i.test(name)) delete request.headers[name];
        }
        request.headers['content-md5'] = createHash('md5').update(request.body).digest('base64');
      }
      return next(args);
    },
    { step: 'build', priority: 'low', name: 'sendContentMd5' },
  );
}

export function watchServerHeader(client: S3Client, seen: (server: string) => void): void {
  client.middlewareStack.add(
    (next) => async (args) => {
      const result = await next(args);
      const server = (result.response as HttpResponse | undefined)?.headers.server;
      if (server !== undefined) seen(server);
      return result;
    },
    { step: 'deserialize', priority: 'low', name: 'watchServerHeader' },
  );
}

export function watchDateHeader(
  client: S3Client,
  seen: (date: { readonly text: string; readonly askedAt: number; readonly answeredAt: number }) => void,
): void {
  client.middlewareStack.add(
    (next) => async (args) => {
      const askedAt = Date.now();
      const result = await next(args);
      const text = (result.response as HttpResponse | undefined)?.headers.date;
      if (text !== undefined) seen({ text, askedAt, answeredAt: Date.now() });
      return result;
    },
    { step: 'deserialize', priority: 'low', name: 'watchDateHeader' },
  );
}
