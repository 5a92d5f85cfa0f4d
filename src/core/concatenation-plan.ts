import { planLayout, rangeOf } from './layout.ts';
import type { StoreLimits } from './object-store.ts';

/** Bytes of one source. */
export interface Segment {
  /** Its place in the list of sources. */
  readonly source: number;
  readonly first: number;
  readonly sizeBytes: number;
}

/** A part of what is put together. The store copies it where it can; else the gateway reads and sends it. */
export interface JoinedPart {
  readonly partNumber: number;
  readonly offset: number;
  readonly sizeBytes: number;
  readonly segments: readonly Segment[];
}

/** S3 copies no more into one part. "Amazon S3 multipart upload limits". */
const largestCopyBytes = 5 * 1024 ** 3;
/** A copy of this size takes a store seconds: what breaks off, or dies, costs no more. */
const handyCopyBytes = 512 * 1024 ** 2;
/** "You can copy a range only if the source object is greater than 5 MB." Amazon S3 API, UploadPartCopy. */
const smallestRangedBytes = 5 * 1024 ** 2;

/**
 * Cuts the sources, one behind the other, into parts of which as many as possible lie within one source: only what is
 * too small to be a part is joined with what follows it.
 */
export function planConcatenation(sizes: readonly number[], limits: StoreLimits): readonly JoinedPart[] {
  const sizeBytes = sizes.reduce((sum, size) => sum + size, 0);
  // Half of the parts, so that the borders of the sources have theirs.
  const roomyBytes = Math.ceil(sizeBytes / (limits.maxParts / 2));
  const largestBytes = Math.min(limits.maxPartSizeBytes, largestCopyBytes, Math.max(handyCopyBytes, roomyBytes));
  const cuts = limits.equalParts ? equalCuts(sizeBytes, limits) : natural(sizes, limits.minPartSizeBytes, largestBytes);
  let offset = 0;
  return cuts.map((partBytes, index) => {
    const part = {
      partNumber: index + 1,
      offset,
      sizeBytes: partBytes,
      segments: segmentsOf(sizes, offset, partBytes),
    };
    offset += partBytes;
    return part;
  });
}

/** The one segment that the store copies, where the part has no other and the store may cut it out of its source. */
export function copiedSegment({ segments }: JoinedPart, sizes: readonly number[]): Segment | undefined {
  const [only, ...more] = segments;
  if (only === undefined || more.length > 0) return undefined;
  return isWhole(only, sizes) || (sizes[only.source] ?? 0) > smallestRangedBytes ? only : undefined;
}

export function isWhole({ source, sizeBytes }: Segment, sizes: readonly number[]): boolean {
  return sizes[source] === sizeBytes;
}

function equalCuts(sizeBytes: number, limits: StoreLimits): number[] {
  const layout = planLayout({ sizeBytes }, limits);
  const cuts: number[] = [];
  for (let partNumber = 1; ; partNumber++) {
    const slot = rangeOf(layout, partNumber, sizeBytes);
    if (slot === undefined || slot.sizeBytes === 0) return cuts;
    cuts.push(slot.sizeBytes);
  }
}

/** The lengths of parts whose borders are those of the sources, where that leaves none too small. */
function natural(sizes: readonly number[], smallestBytes: number, largestBytes: number): number[] {
  const cuts: number[] = [];
  /** What is not a part yet: fewer bytes than the smallest has. */
  let pending = 0;
  for (const size of sizes) {
    let left = size;
    if (pending > 0) {
      const joined = Math.min(left, smallestBytes - pending);
      pending += joined;
      left -= joined;
      if (pending < smallestBytes) continue;
      cuts.push(pending);
      pending = 0;
    }
    while (left >= smallestBytes) {
      // What is left behind it is a part, too, or nothing.
      const part = left <= largestBytes ? left : Math.min(largestBytes, left - smallestBytes);
      cuts.push(part);
      left -= part;
    }
    pending = left;
  }
  return pending > 0 ? [...cuts, pending] : cuts;
}

function segmentsOf(sizes: readonly number[], offset: number, sizeBytes: number): Segment[] {
  const end = offset + sizeBytes;
  const segments: Segment[] = [];
  let start = 0;
  sizes.forEach((size, source) => {
    const from = Math.max(offset, start);
    const to = Math.min(end, start + size);
    if (from < to) segments.push({ source, first: from - start, sizeBytes: to - from });
    start += size;
  });
  return segments;
}
