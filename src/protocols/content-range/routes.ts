import { type OpenAPIHono, type RouteConfig, z } from '@hono/zod-openapi';
import { uploadErrorCodes } from '../../core/errors.ts';
import type { HttpEnv } from '../http/env.ts';
import { json, problemsOf } from '../http/responses.ts';
import { progressBody } from './contract.ts';
import { contentRangeProblems } from './problems.ts';

/* For the OpenAPI document alone: its paths cannot say that a key may have slashes, and no body is parsed by its schema. */

const binary = { type: 'string', format: 'binary' } as const;

const body: NonNullable<RouteConfig['request']>['body'] = {
  content: {
    'application/octet-stream': { schema: binary },
    'multipart/form-data': { schema: { type: 'object', properties: { 'files[]': binary } } },
  },
};

const rangeHeaders = z.object({
  'Content-Range': z
    .string()
    .optional()
    .openapi({
      description:
        'Where the bytes belong: `bytes A-B/TOTAL`, or `/*` where the total is not known yet. B may run past the total. ' +
        '`bytes */TOTAL` or `bytes */*` with an empty body asks where to go on; the first also tells the total where it is not ' +
        'known yet, and completes where every byte is there.',
      example: 'bytes 0-1048575/3145728',
    }),
  'X-Content-Range': z.string().optional().openapi({
    description: "The same, from clients of nginx's upload module, which are answered in their own way",
  }),
  'Content-MD5': z
    .string()
    .optional()
    .openapi({ description: 'Of the body. Where it differs nothing of it counts: 422' }),
  'Content-Digest': z.string().optional().openapi({
    description: 'The same, by any algorithm of RFC 9530; `x-amz-checksum-*` is taken, too',
    example: 'crc32=:jLxQFw==:',
  }),
  'X-Session-ID': z.string().optional().openapi({
    description: 'Theirs, or `Session-ID`: tells apart uploads of one name',
  }),
});

const progressHeaders = z.object({
  'Upload-Offset': z.string().openapi({ description: 'The `offset`' }),
  'Upload-Length': z.string().optional().openapi({ description: 'The `size`, where it is known' }),
  Range: z
    .string()
    .optional()
    .openapi({ description: 'Up to the `offset`: left out at zero', example: 'bytes=0-1048575' }),
  ETag: z.string().optional().openapi({ description: "The object's" }),
});

/** Those of parts and JSON bodies are none of this front's. */
const codes = uploadErrorCodes.filter(
  (code) => !['object_not_found', 'length_required', 'idempotency_conflict', 'part_size_mismatch'].includes(code),
);

const responses: RouteConfig['responses'] = {
  200: {
    ...json(progressBody, 'The bytes are durable; with the last missing one, the object is there'),
    headers: progressHeaders,
  },
  201: {
    description: "To clients of nginx's upload module: durable, and more is to come. The same text as in `Range`",
    content: { 'text/plain': { schema: { type: 'string', example: '0-51200/511920' } } },
    headers: progressHeaders.omit({ ETag: true }).extend({
      Range: z.string().optional().openapi({ description: 'All that came', example: '0-51200/511920' }),
    }),
  },
  ...problemsOf(contentRangeProblems, codes),
};

const onObject = {
  path: '/objects/{key}',
  summary: 'Send a chunk to a name, or a whole object',
  description:
    'A chunk says by `Content-Range` where it belongs; the one that brings the last missing byte completes. Without that header ' +
    'the body is the whole object. Equal bytes may come again; those that differ from stored ones are a conflict. ' +
    'In a form the bytes are those of its one file, and the header describes that file.',
  request: {
    params: z.object({
      key: z
        .string()
        .openapi({ description: 'May contain slashes; is percent-decoded once', example: 'videos/video.bin' }),
    }),
    query: z.object({
      bucket: z.string().optional().openapi({ description: 'One that the gateway allows; its default otherwise' }),
      session: z.string().optional().openapi({ description: 'Tells apart uploads of one name' }),
    }),
    headers: rangeHeaders.extend({
      'If-None-Match': z.literal('*').optional().openapi({
        description: 'Of a whole object: only if nothing is at the key',
      }),
      'Repr-Digest': z.string().optional().openapi({ description: 'Of a whole object: its digest' }),
    }),
    body,
  },
  responses,
};

const onUpload = {
  path: '/uploads/{id}',
  summary: 'Send a chunk of an upload',
  description: 'As to a name, for an upload that any call has opened. `Content-Range` or `X-Content-Range` is needed.',
  request: { params: z.object({ id: z.string() }), headers: rangeHeaders, body },
  responses,
};

export function describeRoutes({ openAPIRegistry }: OpenAPIHono<HttpEnv>): void {
  for (const method of ['put', 'post'] as const) {
    openAPIRegistry.registerPath({ method, ...onObject });
    openAPIRegistry.registerPath({ method, ...onUpload });
  }
}
