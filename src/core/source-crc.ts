import type { Deps } from './deps.ts';
import { combineCrcs } from './digest.ts';
import type { Run, Upload } from './upload.ts';

const pageSize = 128;

/**
 * The CRC-32 of a range of a completed upload, from what is kept of its runs; nothing is read.
 * @returns base64; `undefined` where the range's ends are not those of runs, or one has none
 */
export async function crcOfRange(
  deps: Pick<Deps, 'records'>,
  { id }: Upload,
  range: { readonly first: number; readonly sizeBytes: number },
): Promise<string | undefined> {
  const end = range.first + range.sizeBytes;
  const pieces: { readonly crc: string; readonly sizeBytes: number }[] = [];
  for (let at = range.first; at < end; ) {
    const runs = await deps.records.listRuns(id, { from: at, limit: pageSize });
    if (runs.length === 0) return undefined;
    for (const run of runs) {
      if (at === end) break;
      const crc = crcOf(run, at, end);
      if (crc === undefined) return undefined;
      pieces.push({ crc, sizeBytes: run.sizeBytes });
      at += run.sizeBytes;
    }
  }
  return combineCrcs('crc32', pieces);
}

function crcOf({ offset, sizeBytes, digests }: Run, at: number, end: number): string | undefined {
  return offset === at && at + sizeBytes <= end ? digests.crc32 : undefined;
}
