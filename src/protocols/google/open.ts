import type { Context, Hono } from 'hono';
import { createUpload } from '../../core/create.ts';
import { digestLengths } from '../../core/digest.ts';
import { UploadError } from '../../core/errors.ts';
import { requireScope } from '../../core/principal.ts';
import { baseUrlOf } from '../http/base-url.ts';
import type { HttpEnv } from '../http/env.ts';
import { optionalJsonBody } from '../http/json-body.ts';
import { type GoogleDeps, uploadPath } from './front.ts';
import { type ObjectResource, parseObjectResource } from './object-resource.ts';
import { newSecret, sessionUri } from './session.ts';

/** `POST …/o?uploadType=resumable&name=…`: opens a session. */
export function addOpen(app: Hono<HttpEnv>, deps: GoogleDeps): void {
  app.post(uploadPath, deps.authenticate, requireResumable, optionalJsonBody, async (c) => {
    const principal = c.get('principal');
    requireScope(principal, 'uploads:write');
    const resource = parseObjectResource(await c.req.json().catch(refuseJson));
    const secret = newSecret();
    const upload = await createUpload(deps.core, {
      principal,
      protocol: 'google',
      bucket: c.req.param('bucket'),
      key: nameOf(c.req.query('name'), resource),
      sizeBytes: announcedSize(c.req.header('x-upload-content-length')),
      layout: 'undecided',
      isSelfCompleting: true,
      sessionHash: secret.hash,
      // "X-Upload-Content-Type. Optional. Set to the MIME type of the file data, which is transferred in subsequent
      // requests."
      contentType: c.req.header('x-upload-content-type') ?? resource.contentType,
      metadata: resource.metadata,
      digest: resource.crc32c === undefined ? undefined : declaredCrc(resource.crc32c),
      // "Setting to 0 makes the operation succeed only if there are no live versions of the object."
      ifNoneMatch: c.req.query('ifGenerationMatch') === '0',
    });
    return c.body(null, 200, {
      'Cache-Control': 'no-store',
      'Content-Length': '0',
      Location: sessionUri(baseUrlOf(c, deps.publicUrl), upload, secret),
    });
  });
}

async function requireResumable(c: Context<HttpEnv>, next: () => Promise<void>): Promise<void> {
  const uploadType = c.req.query('uploadType');
  if (uploadType !== 'resumable') {
    throw new UploadError(
      'unsupported',
      "Uploads are resumable here: uploadType=resumable (of the clients, Python's sends so with a chunk_size, Node's with resumable: true).",
    );
  }
  const preconditions = ['ifGenerationNotMatch', 'ifMetagenerationMatch', 'ifMetagenerationNotMatch'];
  const generation = c.req.query('ifGenerationMatch');
  if (preconditions.some((name) => c.req.query(name) !== undefined) || (generation ?? '0') !== '0') {
    throw new UploadError('unsupported', 'Of the preconditions only ifGenerationMatch=0 can be kept.');
  }
  if (c.req.header('x-goog-encryption-algorithm') !== undefined || c.req.query('kmsKeyName') !== undefined) {
    throw new UploadError('unsupported', 'Keys of the client are not kept by this gateway.');
  }
  await next();
}

function refuseJson(cause: unknown): never {
  throw new UploadError('invalid_request', 'The body is not JSON.', { cause });
}

/** In the query it "is not required if you included a name in the object metadata". */
function nameOf(query: string | undefined, { name }: ObjectResource): string {
  const key = query ?? name;
  if (key === undefined) throw new UploadError('invalid_request', 'name is missing, in the query or in the body.');
  if (name === undefined || name === key) return key;
  throw new UploadError('invalid_request', 'name in the query and name in the body differ.');
}

function announcedSize(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const sizeBytes = Number(text);
  if (/^\d+$/.test(text) && Number.isSafeInteger(sizeBytes)) return sizeBytes;
  throw new UploadError('invalid_request', 'X-Upload-Content-Length is not a number of bytes.');
}

function declaredCrc(value: string): { algorithm: 'crc32c'; value: string } {
  const bytes = Buffer.from(value, 'base64');
  if (bytes.length === digestLengths.crc32c && bytes.toString('base64') === value) {
    return { algorithm: 'crc32c', value };
  }
  throw new UploadError('invalid_request', 'crc32c: not four bytes in base64.');
}
