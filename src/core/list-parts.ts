import { foreseen } from './decide-layout.ts';
import type { Deps } from './deps.ts';
import { findUpload } from './find.ts';
import { partCountOf, rangeOf, slotOf } from './layout.ts';
import type { Principal } from './principal.ts';
import type { Part, Upload } from './upload.ts';

/** Bytes of a slot that are not durable. In the free layout only the number is known. */
export interface MissingPart {
  readonly partNumber: number;
  readonly offset?: number | undefined;
  readonly sizeBytes?: number | undefined;
}

export interface PartPage {
  readonly upload: Upload;
  readonly parts: readonly Part[];
  readonly missing: readonly MissingPart[];
  /** The last part number that this page covers, where there are more. */
  readonly nextAfter: number | undefined;
}

/**
 * What is stored and what is missing, slot by slot, from the records alone.
 * @param page.limit how many slots the page covers, stored and missing together
 */
export async function listParts(
  deps: Pick<Deps, 'records' | 'store'>,
  input: { readonly principal: Principal; readonly uploadId: string },
  page: { readonly after: number; readonly limit: number },
): Promise<PartPage> {
  const upload = foreseen(deps, await findUpload(deps, input.principal, input.uploadId));
  const found = await deps.records.listParts(upload.id, { after: page.after, limit: page.limit + 1 });
  const last = lastSlot(upload) ?? (await lastSlotWithHole(deps, upload));
  const lastKnown = Math.max(last ?? page.after, found.at(-1)?.partNumber ?? page.after);
  const pageEnd = Math.min(page.after + page.limit, lastKnown);
  const parts = found.filter(({ partNumber }) => partNumber <= pageEnd);
  return {
    upload,
    parts,
    missing: missingBetween(upload, parts, { after: page.after, last: pageEnd }),
    nextAfter: pageEnd < lastKnown ? pageEnd : undefined,
  };
}

const pageSize = 1000;

/** The first slots that have no durable part. */
export async function missingParts(
  deps: Pick<Deps, 'records' | 'store'>,
  found: Upload,
  limit: number,
): Promise<readonly MissingPart[]> {
  const upload = foreseen(deps, found);
  const missing: MissingPart[] = [];
  let after = upload.contiguousParts;
  const lastKnown = lastSlot(upload) ?? (await lastSlotWithHole(deps, upload));
  for (;;) {
    const parts = await deps.records.listParts(upload.id, { after, limit: pageSize });
    const isLastPage = parts.length < pageSize;
    const end = Math.max((isLastPage ? lastKnown : undefined) ?? after, parts.at(-1)?.partNumber ?? after);
    // One window of slots at a time: an upload without any part may have 10,000 missing.
    const last = Math.min(end, after + pageSize);
    missing.push(...missingBetween(upload, parts, { after, last }));
    if (missing.length >= limit || (last === end && isLastPage)) return missing.slice(0, limit);
    after = last;
  }
}

/** The last part number, where the layout tells it. */
function lastSlot({ layout, sizeBytes }: Upload): number | undefined {
  return layout.kind !== 'planned' || sizeBytes === undefined ? undefined : partCountOf(layout, sizeBytes);
}

/** While the size is unknown, a hole shows in the parts behind it; but fragments may be all that is behind it. */
async function lastSlotWithHole({ records }: Pick<Deps, 'records'>, upload: Upload): Promise<number | undefined> {
  const { layout, id, offset, receivedBytes } = upload;
  if (layout.kind !== 'planned' || receivedBytes === offset) return undefined;
  const { gaps } = await records.listGaps(id, { from: offset, limit: pageSize });
  const lastHole = gaps.at(-1);
  return lastHole === undefined ? undefined : slotOf(layout, lastHole.to - 1);
}

function missingBetween(
  upload: Upload,
  parts: readonly Part[],
  { after, last }: { after: number; last: number },
): MissingPart[] {
  if (upload.sizeBytes === 0) return [];
  const stored = new Set(parts.map(({ partNumber }) => partNumber));
  const missing: MissingPart[] = [];
  for (let partNumber = after + 1; partNumber <= last; partNumber++) {
    if (stored.has(partNumber)) continue;
    const slot = upload.layout.kind === 'planned' ? rangeOf(upload.layout, partNumber, upload.sizeBytes) : undefined;
    missing.push(slot ?? { partNumber });
  }
  return missing;
}
