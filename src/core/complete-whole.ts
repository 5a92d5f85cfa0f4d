import { completeUpload } from './complete.ts';
import type { Deps } from './deps.ts';
import { UploadError } from './errors.ts';
import type { Principal } from './principal.ts';
import type { Upload } from './upload.ts';

/** Completes, and waits for it. @throws UploadError `busy` when it takes longer than a request may wait */
export async function completeWhole(
  deps: Deps,
  { principal, upload }: { readonly principal: Principal; readonly upload: Upload },
): Promise<Upload> {
  const outcome = await completeUpload(deps, { principal, uploadId: upload.id, byItself: true });
  if (outcome.kind === 'completed') return outcome.upload;
  throw unconfirmedError(outcome.retryAfterSeconds);
}

/** The store has not said yet that it has the object. */
export function unconfirmedError(retryAfterSeconds: number): UploadError {
  return new UploadError('busy', 'Every byte is stored; the store has not confirmed the object yet. Try again.', {
    retryAfterSeconds,
    details: { uploadState: 'completing' },
  });
}
