import { createHash, randomBytes } from 'node:crypto';
import type { Context } from 'hono';
import { UploadError } from '../../core/errors.ts';
import { findUpload, notFoundError } from '../../core/find.ts';
import { ownerOf, requireScope } from '../../core/principal.ts';
import type { Upload } from '../../core/upload.ts';
import type { HttpEnv } from '../http/env.ts';
import type { GoogleDeps } from './front.ts';

/** What a session URI proves itself by. Only its hash is kept. */
export interface SessionSecret {
  readonly text: string;
  readonly hash: Buffer;
}

export function newSecret(): SessionSecret {
  const text = randomBytes(32).toString('base64url');
  return { text, hash: hashOf(text) };
}

/**
 * "This session URI acts as an authentication token, so the requests that use it don't need to be signed": whoever
 * has it may go on with this one upload, and do nothing else.
 */
export function sessionUri(baseUrl: string, { id, bucket }: Upload, { text }: SessionSecret): string {
  return `${baseUrl}/upload/storage/v1/b/${encodeURIComponent(bucket)}/o?uploadType=resumable&upload_id=${id}.${text}`;
}

/**
 * The upload of a session; the request acts for whoever opened it. Also takes an upload's plain id, from those who may
 * use the upload anyhow: so that what another protocol began can go on here.
 * @throws UploadError `invalid_request`, `upload_not_found`, `unauthorized`
 */
export async function openSession(c: Context<HttpEnv>, deps: GoogleDeps): Promise<Upload> {
  const credential = c.req.query('upload_id');
  if (credential === undefined) {
    throw new UploadError('invalid_request', 'upload_id is missing: send this to the session URI.');
  }
  const [id = '', secret] = credential.split('.', 2);
  const upload = await (secret === undefined ? findAsCaller(c, deps, id) : findAsHolder(c, deps, id, secret));
  if (upload.bucket === c.req.param('bucket')) return upload;
  throw notFoundError();
}

async function findAsCaller(c: Context<HttpEnv>, deps: GoogleDeps, id: string): Promise<Upload> {
  await deps.authenticate(c, async () => {});
  requireScope(c.get('principal'), 'uploads:write');
  return findUpload(deps.core, c.get('principal'), id);
}

/**
 * As `openSession`, for work that the records judge once more: the session's upload may be as it was a moment ago.
 * @param work returns the upload as it is then
 */
export async function inSession(
  c: Context<HttpEnv>,
  deps: GoogleDeps,
  work: (upload: Upload) => Promise<Upload>,
): Promise<Upload> {
  const credential = c.req.query('upload_id') ?? '';
  const known = deps.recent.find(credential);
  const isKnown = known !== undefined && known.bucket === c.req.param('bucket');
  if (isKnown) c.set('principal', ownerOf(known));
  const upload = isKnown ? known : await openSession(c, deps);
  deps.recent.forget(credential);
  const after = await work(upload);
  // Who has no more than an id is asked who they are each time.
  if (credential.includes('.')) deps.recent.remember(credential, after);
  return after;
}

async function findAsHolder(c: Context<HttpEnv>, deps: GoogleDeps, id: string, secret: string): Promise<Upload> {
  const upload = await deps.core.records.findBySession(hashOf(secret));
  // Other fronts keep hashes of session ids that clients choose: those open nothing here.
  if (upload === undefined || upload.id !== id || upload.protocol !== 'google') throw notFoundError();
  c.set('principal', ownerOf(upload));
  return upload;
}

function hashOf(secret: string): Buffer {
  return createHash('sha256').update(secret).digest();
}
