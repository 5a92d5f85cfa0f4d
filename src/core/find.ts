import type { Deps } from './deps.ts';
import { UploadError } from './errors.ts';
import type { MultipartAddress } from './object-store.ts';
import { mayUse, type Principal } from './principal.ts';
import { isId } from './random.ts';
import type { AbortReason, Upload } from './upload.ts';

/**
 * The upload, if it is this principal's to see. Another tenant's is not found, like one that never was.
 * @throws UploadError `upload_not_found`
 */
export async function findUpload(deps: Pick<Deps, 'records'>, principal: Principal, id: string): Promise<Upload> {
  const upload = isId(id) ? await deps.records.find(principal.tenant, id) : undefined;
  if (upload === undefined) throw notFoundError();
  requireSeen(principal, upload);
  return upload;
}

/** @throws UploadError `upload_not_found` where the principal's bucket or prefix does not reach it */
export function requireSeen(principal: Principal, upload: Upload): void {
  if (!mayUse(principal, upload)) throw notFoundError();
}

export function notFoundError(): UploadError {
  return new UploadError('upload_not_found', 'There is no such upload.');
}

/** An upload that is `open` and so has its multipart upload at the store. */
export type OpenUpload = Upload & { readonly storeUploadId: string };

/** Its multipart upload at the store. */
export function multipartOf(upload: Pick<OpenUpload, 'bucket' | 'storeKey' | 'storeUploadId'>): MultipartAddress {
  return { bucket: upload.bucket, key: upload.storeKey, storeUploadId: upload.storeUploadId };
}

/** @throws UploadError `upload_gone`, `state_conflict`, `busy` */
export function requireOpen(upload: Upload): OpenUpload {
  const { state, storeUploadId } = upload;
  if (state === 'open' && storeUploadId !== undefined) return { ...upload, storeUploadId };
  throw notOpen(upload);
}

/** @throws UploadError `upload_gone` */
export function requireNotGone(upload: Upload): void {
  const { state } = upload;
  if (state === 'aborting' || state === 'aborted' || state === 'deleted') throw notOpen(upload);
}

/** Looks again. @throws UploadError `upload_not_found`, `upload_gone` */
export async function requireThere({ records }: Pick<Deps, 'records'>, { tenant, id }: Upload): Promise<void> {
  const now = await records.find(tenant, id);
  if (now === undefined) throw notFoundError();
  requireNotGone(now);
}

/** @throws UploadError `state_conflict` for an upload whose client numbers parts of its own sizes */
export function requireOffset({ layout }: Upload): void {
  if (layout.kind !== 'free') return;
  throw new UploadError('state_conflict', 'The client of this upload chooses its parts: it has no offset.');
}

/** @throws UploadError `state_conflict` for an upload whose bytes are those of others */
export function requireOwnBytes({ sources }: Upload): void {
  if (sources === undefined) return;
  throw new UploadError('state_conflict', 'The upload is put together of others, and takes no bytes of its own.');
}

/** Why an upload that is not `open` takes nothing. */
export function notOpen(upload: Upload): UploadError {
  switch (upload.state) {
    case 'deleted':
      return new UploadError('upload_gone', 'The upload was completed, and deleted since.', {
        details: { uploadState: 'deleted' },
      });
    case 'aborting':
    case 'aborted':
      return goneError(upload.reason);
    case 'completed':
      return new UploadError('state_conflict', 'The upload is completed.', { details: { uploadState: upload.state } });
    case 'creating':
    case 'completing':
    case 'open':
      return new UploadError('busy', `The upload is ${upload.state}. Try again.`, {
        details: { uploadState: upload.state },
        retryAfterSeconds: 1,
      });
  }
}

const goneMessages: Readonly<Record<AbortReason, string>> = {
  requested: 'The upload was aborted.',
  superseded: 'The upload was superseded by a newer one.',
  expired: 'The upload expired. Start a new one.',
  lost: 'The store has dropped this upload. Start a new one.',
  not_created: 'The upload could not be created. Start a new one.',
  not_joined: 'What the upload was to be put together of is gone, or can not be joined. Start a new one.',
};

export function goneError(reason: AbortReason | undefined): UploadError {
  const known = reason ?? 'requested';
  return new UploadError('upload_gone', goneMessages[known], { details: { reason: known, uploadState: 'aborted' } });
}
