import type { Deps } from './deps.ts';
import type { Upload } from './upload.ts';

/** Bytes that are not durable; `to` is not included. */
export interface MissingRange {
  readonly from: number;
  /** `undefined` while the upload's size is unknown. */
  readonly to: number | undefined;
}

/** The first ranges that are still to come, in order. */
export async function missingRanges(
  deps: Pick<Deps, 'records'>,
  { id, offset, sizeBytes }: Upload,
  { limit }: { readonly limit: number },
): Promise<readonly MissingRange[]> {
  const { gaps, reach } = await deps.records.listGaps(id, { from: offset, limit });
  if (gaps.length === limit || reach === sizeBytes) return gaps;
  return [...gaps, { from: reach, to: sizeBytes }];
}
