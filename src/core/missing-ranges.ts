import type { Deps } from './deps.ts';
import type { Upload } from './upload.ts';

/** Bytes that are not durable; `to` is not included. */
export interface MissingRange {
  readonly from: number;
  /** `undefined` while the upload's size is unknown. */
  readonly to: number | undefined;
}

const pageSize = 1000;

/** The first ranges that are still to come, in order. */
export async function missingRanges(
  deps: Pick<Deps, 'records'>,
  upload: Upload,
  { limit }: { readonly limit: number },
): Promise<readonly MissingRange[]> {
  const missing: MissingRange[] = [];
  let at = upload.offset;
  for (;;) {
    const runs = await deps.records.listRuns(upload.id, { from: at, limit: pageSize, partsAsOne: true });
    for (const { offset, sizeBytes } of runs) {
      if (offset > at) missing.push({ from: at, to: offset });
      at = Math.max(at, offset + sizeBytes);
      if (missing.length >= limit) return missing;
    }
    if (runs.length < pageSize) break;
  }
  if (at !== upload.sizeBytes) missing.push({ from: at, to: upload.sizeBytes });
  return missing.slice(0, limit);
}
