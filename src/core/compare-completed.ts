import { BodyReader } from './body-reader.ts';
import { requireSameBytes } from './compare-runs.ts';
import type { Deps } from './deps.ts';
import { sizeError } from './range-write.ts';
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
  const reader = new BodyReader(deps, input.body());
  try {
    let at = offset;
    for (;;) {
      const [run] = await deps.records.listRuns(upload.id, { from: at, limit: 1 });
      const chunks: Buffer[] = [];
      let length = 0;
      const wanted = run === undefined ? 1 : run.offset + run.sizeBytes - at;
      while (length < wanted) {
        const chunk = await reader.take(wanted - length);
        if (chunk === undefined) break;
        chunks.push(chunk);
        length += chunk.length;
      }
      if (length === 0) return upload;
      if (run === undefined) throw sizeError(upload, at + length);
      await requireSameBytes([run], at, chunks, length);
      at += length;
    }
  } finally {
    reader.end();
  }
}
