import type { IncomingHttpHeaders } from 'node:http';
import { createRoute, type OpenAPIHono, z } from '@hono/zod-openapi';
import { UploadError } from '../../core/errors.ts';
import { requireScope } from '../../core/principal.ts';
import { putPart } from '../../core/put-part.ts';
import { pipedBodyBytes } from '../http/admission.ts';
import { parseContentRange } from '../http/byte-range.ts';
import { contentDigestsOf } from '../http/digest-fields.ts';
import type { HttpEnv } from '../http/env.ts';
import { contentLengthOf, rawBodyOf } from '../http/raw-body.ts';
import { json, problem } from '../http/responses.ts';
import { partBody, partPath } from './contract.ts';
import type { RestDeps } from './front.ts';
import { renderPart } from './render.ts';

const route = createRoute({
  method: 'put',
  path: '/uploads/{id}/parts/{partNumber}',
  summary: 'Send one part',
  description:
    'The raw bytes of one part, with `Content-Length`. Checked against `Content-MD5`, `Content-Digest` or ' +
    '`x-amz-checksum-*` where sent. Sent again it is replaced, unless it is known to be the same.',
  request: {
    params: partPath,
    // Documented, not parsed: the bytes go to the store as they come.
    body: {
      content: { 'application/octet-stream': { schema: z.any().openapi({ type: 'string', format: 'binary' }) } },
    },
  },
  responses: {
    200: { ...json(partBody, 'The part is stored'), headers: z.object({ ETag: z.string() }) },
    default: problem,
  },
});

export function addPutPart(app: OpenAPIHono<HttpEnv>, deps: RestDeps): void {
  app.openapi(route, async (c) => {
    const { incoming } = c.env;
    const principal = c.get('principal');
    requireScope(principal, 'uploads:write');
    const { id, partNumber } = c.req.valid('param');
    const sizeBytes = contentLengthOf(incoming);
    refuseFraming(incoming.headers);
    const digests = contentDigestsOf(incoming.headers);
    const { offset, totalBytes } = placeOf(incoming.headers['content-range'], sizeBytes);
    const part = await deps.admission.admit(pipedBodyBytes, () =>
      putPart(deps.core, {
        principal,
        uploadId: id,
        partNumber,
        sizeBytes,
        digests,
        offset,
        totalBytes,
        body: () => rawBodyOf(incoming),
        ownsBuffers: true,
      }),
    );
    return c.json(renderPart(part), 200, { ETag: part.etag });
  });
}

/** The chunk headers of S3's own streaming signatures would become bytes of the object. */
function refuseFraming(headers: IncomingHttpHeaders): void {
  const isEncoded = headers['content-encoding']?.toLowerCase().includes('aws-chunked') ?? false;
  const isStreamed = String(headers['x-amz-content-sha256'] ?? '').startsWith('STREAMING-');
  if (!isEncoded && !isStreamed) return;
  throw new UploadError('invalid_request', 'Send the plain bytes, not aws-chunked.', {
    details: { field: 'Content-Encoding' },
  });
}

function placeOf(
  contentRange: string | undefined,
  sizeBytes: number,
): { offset?: number; totalBytes?: number | undefined } {
  if (contentRange === undefined) return {};
  const { first, last, totalBytes } = parseContentRange(contentRange);
  if (last - first + 1 === sizeBytes) return { offset: first, totalBytes };
  throw new UploadError('invalid_request', 'Content-Range and Content-Length name different lengths.', {
    details: { field: 'Content-Range' },
  });
}
