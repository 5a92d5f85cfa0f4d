import { completeWhole } from './complete-whole.ts';
import type { Deps } from './deps.ts';
import { notFoundError, notOpen, requireOwnBytes } from './find.ts';
import { isToComplete } from './is-whole.ts';
import { requireSize } from './limits.ts';
import type { Principal } from './principal.ts';
import { sizeError } from './range-errors.ts';
import type { Upload } from './upload.ts';

/**
 * Takes the size of the whole, told without bytes. Where every byte is durable the upload completes, if it does so by
 * itself or `completes` says so.
 * @throws UploadError `state_conflict` with `details.conflict: 'size'`, …
 */
export async function tellSize(
  deps: Deps,
  input: {
    readonly principal: Principal;
    readonly upload: Upload;
    readonly totalBytes: number;
    readonly completes: boolean;
  },
): Promise<Upload> {
  requireOwnBytes(input.upload);
  requireSize(input.totalBytes, deps.settings);
  const { kind, upload } = await deps.records.tellSize(input.upload.id, input.totalBytes);
  if (upload === undefined) throw notFoundError();
  if (kind === 'size_conflict') throw sizeError(upload, input.totalBytes);
  if (kind === 'not_open') {
    if (upload.sizeBytes !== input.totalBytes) throw sizeError(upload, input.totalBytes);
    if (upload.state === 'completed') return upload;
    if (upload.state !== 'completing') throw notOpen(upload);
  }
  return isToComplete(upload, input.completes) ? completeWhole(deps, { principal: input.principal, upload }) : upload;
}
