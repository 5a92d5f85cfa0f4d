import { BodyReader } from './body-reader.ts';
import { compareRun, unverifiableError } from './compare-runs.ts';
import type { Deps } from './deps.ts';
import { UploadError } from './errors.ts';
import { sizeError } from './range-errors.ts';
import { StatedDigests } from './stated-digests.ts';
import type { Upload } from './upload.ts';
import type { WriteRangeInput } from './write-range.ts';

/**
 * Bytes that come after the upload has completed, because an answer was lost: equal to what is stored, they get it again.
 * @throws UploadError `state_conflict`
 */
export async function compareWithCompleted(deps: Deps, upload: Upload, input: WriteRangeInput): Promise<Upload> {
  const { offset, sizeBytes, totalBytes = upload.sizeBytes } = input;
  const end = offset + (sizeBytes ?? 0);
  if (totalBytes !== upload.sizeBytes || end > (upload.sizeBytes ?? end)) throw sizeError(upload, end);
  if (input.mode === 'append' || sizeBytes === 0) return upload;
  const stated = StatedDigests.of(input.digests);
  const reader = new BodyReader(deps, input.body(), stated);
  try {
    await compareBody(deps, upload, reader, { at: offset, end: sizeBytes === undefined ? undefined : end });
    await stated?.verify();
    return upload;
  } catch (error) {
    if (isConflict(error)) await stated?.verifyToEnd(reader);
    throw error;
  } finally {
    reader.end();
  }
}

/** Holds what is left of a body against what is stored. @throws UploadError `state_conflict` */
export async function compareBody(
  deps: Pick<Deps, 'records'>,
  upload: Upload,
  reader: BodyReader,
  place: { readonly at: number; readonly end: number | undefined },
): Promise<void> {
  let { at } = place;
  while (!(await reader.isAtEnd())) {
    const [run] = await deps.records.listRuns(upload.id, { from: at, limit: 1 });
    if (run === undefined) throw sizeError(upload, at + 1);
    const runEnd = run.offset + run.sizeBytes;
    if (run.offset !== at || runEnd > (place.end ?? runEnd)) throw unverifiableError(run);
    await compareRun(run, (see) => reader.pass(run.sizeBytes, see)).catch((error: unknown) => {
      // A body that ends when it ends may do so within a run.
      const endsWithin = error instanceof UploadError && error.code === 'invalid_request';
      throw place.end === undefined && endsWithin ? unverifiableError(run) : error;
    });
    at = runEnd;
  }
}

function isConflict(error: unknown): boolean {
  return error instanceof UploadError && error.details.conflict !== undefined;
}
