import { createRoute, type OpenAPIHono } from '@hono/zod-openapi';
import { UploadError } from '../../core/errors.ts';
import type { Pin } from '../../core/object-store.ts';
import { requireScope } from '../../core/principal.ts';
import { mostSignedAtOnce, signParts } from '../../core/sign.ts';
import { parseDigestField } from '../http/digest-fields.ts';
import type { HttpEnv } from '../http/env.ts';
import { jsonBody } from '../http/json-body.ts';
import { json, problem } from '../http/responses.ts';
import { type SignJson, signBody, signedPartsBody, uploadPath } from './contract.ts';
import type { RestDeps } from './front.ts';
import { renderMissing } from './render.ts';

const usualExpirySeconds = 3600;

const route = createRoute({
  method: 'post',
  path: '/uploads/{id}/parts/sign',
  summary: 'Sign URLs, to send parts straight to the store',
  middleware: jsonBody,
  request: { params: uploadPath, body: { required: true, content: { 'application/json': { schema: signBody } } } },
  responses: { 200: json(signedPartsBody, 'One URL for each part'), default: problem },
});

export function addSignParts(app: OpenAPIHono<HttpEnv>, deps: RestDeps): void {
  app.openapi(route, async (c) => {
    const principal = c.get('principal');
    requireScope(principal, 'uploads:write');
    const { partNumbers, expiresIn = usualExpirySeconds, checksums = {} } = c.req.valid('json');
    const parts = await signParts(deps.core, {
      principal,
      uploadId: c.req.valid('param').id,
      partNumbers: numbersOf(partNumbers),
      expiresInSeconds: expiresIn,
      pins: new Map(Object.entries(checksums).map(([partNumber, field]) => [Number(partNumber), pinOf(field)])),
    });
    c.header('Cache-Control', 'no-store');
    return c.json(
      {
        parts: parts.map((part) => ({
          ...renderMissing(part),
          url: part.url,
          headers: { ...part.headers },
          expiresAt: part.expiresAt.toISOString(),
        })),
      },
      200,
    );
  });
}

function numbersOf(wanted: SignJson['partNumbers']): number[] {
  if (Array.isArray(wanted)) return [...new Set(wanted)];
  const count = wanted.to - wanted.from + 1;
  if (count < 1 || count > mostSignedAtOnce) {
    throw new UploadError(
      'invalid_request',
      `partNumbers: from 1 to ${mostSignedAtOnce} parts can be signed at once.`,
      {
        details: { field: 'partNumbers' },
      },
    );
  }
  return Array.from({ length: count }, (_, index) => wanted.from + index);
}

function pinOf(field: string): Pin {
  const stated = parseDigestField(field, 'checksums');
  for (const algorithm of ['md5', 'crc32'] as const) {
    const value = stated.get(algorithm);
    if (value !== undefined) return { algorithm, value };
  }
  throw new UploadError(
    'invalid_request',
    'checksums: a signed URL can pin an MD5 or a CRC-32, md5=:…: or crc32=:…:.',
    {
      details: { field: 'checksums' },
    },
  );
}
