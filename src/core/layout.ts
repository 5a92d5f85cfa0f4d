import { UploadError } from './errors.ts';
import type { StoreLimits } from './object-store.ts';

const MiB = 1024 * 1024;
/** Below this, S3's cost for each call outweighs the pause that a lost part costs. */
const preferredPartSizeBytes = 8 * MiB;
/** A chunk above this is a whole file in one request: its length says nothing about parts. */
const largestChunkHintBytes = 64 * MiB;

/**
 * Which bytes belong to which part number.
 *
 * - `planned`: known from the start by arithmetic. `growEvery` set: the part size doubles after each so
 *   many parts, until it reaches `maxPartSizeBytes`; for uploads of unknown length.
 * - `free`: the client chooses sizes and numbers, as with raw S3.
 * - `undecided`: `planned`, by the first write.
 */
export type Layout =
  | {
      readonly kind: 'planned';
      readonly partSizeBytes: number;
      readonly growEvery?: number;
      readonly maxPartSizeBytes?: number;
    }
  | { readonly kind: 'free' }
  | { readonly kind: 'undecided' };

export type PlannedLayout = Extract<Layout, { kind: 'planned' }>;

/** One part's place. `sizeBytes` is the size of the whole slot, cut at the upload's end where that is known. */
export interface Slot {
  readonly partNumber: number;
  readonly offset: number;
  readonly sizeBytes: number;
}

/**
 * Chooses part sizes so that `limits.maxParts` suffice and a client's chunk is a part wherever the store
 * allows it.
 * @param input.chunkSizeBytes the client's chunk: a hint
 * @param input.partSizeBytes what the client asks for: kept or refused
 * @throws UploadError `limit_exceeded`, `invalid_request`
 */
export function planLayout(
  input: {
    readonly sizeBytes?: number | undefined;
    readonly partSizeBytes?: number | undefined;
    readonly chunkSizeBytes?: number | undefined;
  },
  limits: StoreLimits,
): PlannedLayout {
  const { sizeBytes, partSizeBytes } = input;
  if (sizeBytes !== undefined && sizeBytes > limits.maxObjectSizeBytes) {
    throw new UploadError('limit_exceeded', `The store takes objects up to ${limits.maxObjectSizeBytes} bytes.`, {
      details: { limit: limits.maxObjectSizeBytes },
    });
  }
  const smallest = smallestPartSize(sizeBytes, limits);
  if (partSizeBytes !== undefined) {
    requirePartSize(partSizeBytes, sizeBytes, smallest, limits);
    return sizeBytes === undefined ? growing(partSizeBytes, limits) : { kind: 'planned', partSizeBytes };
  }
  const wanted = fromChunk(input.chunkSizeBytes, limits);
  if (sizeBytes !== undefined) return { kind: 'planned', partSizeBytes: roundUp(wanted, smallest, limits) };
  if (limits.equalParts) return { kind: 'planned', partSizeBytes: roundUp(wanted, equalPartSize(limits), limits) };
  return growing(wanted, limits);
}

/** The part size that a chunk of this length suggests; see the layout rules in ARCHITECTURE.md. */
function fromChunk(chunkSizeBytes: number | undefined, limits: StoreLimits): number {
  const floor = Math.max(preferredPartSizeBytes, limits.minPartSizeBytes);
  if (chunkSizeBytes === undefined || chunkSizeBytes < 1 || chunkSizeBytes > largestChunkHintBytes) return floor;
  if (chunkSizeBytes >= limits.minPartSizeBytes) return chunkSizeBytes;
  return Math.ceil(floor / chunkSizeBytes) * chunkSizeBytes;
}

function smallestPartSize(sizeBytes: number | undefined, limits: StoreLimits): number {
  if (sizeBytes === undefined) return limits.minPartSizeBytes;
  return Math.max(limits.minPartSizeBytes, Math.ceil(sizeBytes / limits.maxParts));
}

function equalPartSize(limits: StoreLimits): number {
  return Math.ceil(Math.ceil(limits.maxObjectSizeBytes / limits.maxParts) / MiB) * MiB;
}

/** The smallest whole multiple of what is wanted that suffices, so that chunks still fill parts evenly. */
function roundUp(wanted: number, smallest: number, limits: StoreLimits): number {
  if (wanted >= smallest) return wanted;
  const multiple = Math.ceil(smallest / wanted) * wanted;
  return multiple <= limits.maxPartSizeBytes ? multiple : smallest;
}

function growing(partSizeBytes: number, limits: StoreLimits): PlannedLayout {
  if (limits.equalParts) return { kind: 'planned', partSizeBytes };
  return {
    kind: 'planned',
    partSizeBytes,
    growEvery: Math.floor(limits.maxParts / 11),
    maxPartSizeBytes: limits.maxPartSizeBytes,
  };
}

function requirePartSize(
  partSizeBytes: number,
  sizeBytes: number | undefined,
  smallest: number,
  limits: StoreLimits,
): void {
  const onePart = sizeBytes !== undefined && sizeBytes <= partSizeBytes;
  if (partSizeBytes >= smallest && partSizeBytes <= limits.maxPartSizeBytes) return;
  if (onePart && partSizeBytes >= 1 && partSizeBytes <= limits.maxPartSizeBytes) return;
  throw new UploadError(
    'invalid_request',
    `partSize must be ${smallest} to ${limits.maxPartSizeBytes} bytes for this upload: the store takes parts of ` +
      `${limits.minPartSizeBytes} bytes and more, and at most ${limits.maxParts} of them.`,
    { details: { minPartSize: smallest, maxPartSize: limits.maxPartSizeBytes, maxParts: limits.maxParts } },
  );
}

/** Where the groups of equal parts begin in a planned layout: sizes double from one to the next. */
function* groups(layout: PlannedLayout): Generator<{ firstPart: number; offset: number; partSizeBytes: number }> {
  let firstPart = 1;
  let offset = 0;
  let partSizeBytes = layout.partSizeBytes;
  const { growEvery, maxPartSizeBytes = partSizeBytes } = layout;
  for (;;) {
    yield { firstPart, offset, partSizeBytes };
    if (growEvery === undefined || partSizeBytes * 2 > maxPartSizeBytes) return;
    firstPart += growEvery;
    offset += growEvery * partSizeBytes;
    partSizeBytes *= 2;
  }
}

function lastGroup(
  layout: PlannedLayout,
  begunBy: (group: { firstPart: number; offset: number }) => boolean,
): { firstPart: number; offset: number; partSizeBytes: number } {
  let found = { firstPart: 1, offset: 0, partSizeBytes: layout.partSizeBytes };
  for (const group of groups(layout)) {
    if (!begunBy(group)) break;
    found = group;
  }
  return found;
}

/**
 * The slot of a part number; `undefined` past the upload's end. An upload of 0 bytes has one slot of 0 bytes.
 * @param partNumber 1 and up
 */
export function rangeOf(layout: PlannedLayout, partNumber: number, sizeBytes?: number): Slot | undefined {
  const group = lastGroup(layout, (g) => g.firstPart <= partNumber);
  const offset = group.offset + (partNumber - group.firstPart) * group.partSizeBytes;
  if (sizeBytes === undefined) return { partNumber, offset, sizeBytes: group.partSizeBytes };
  if (offset > sizeBytes || (offset === sizeBytes && partNumber > 1)) return undefined;
  return { partNumber, offset, sizeBytes: Math.min(group.partSizeBytes, sizeBytes - offset) };
}

/** The number of the part that the byte at this offset belongs to. */
export function slotOf(layout: PlannedLayout, offset: number): number {
  const group = lastGroup(layout, (g) => g.offset <= offset);
  return group.firstPart + Math.floor((offset - group.offset) / group.partSizeBytes);
}

/** How many parts an upload of this size has; 1 for 0 bytes. */
export function partCountOf(layout: PlannedLayout, sizeBytes: number): number {
  return sizeBytes === 0 ? 1 : slotOf(layout, sizeBytes - 1);
}

/** The largest upload that a planned layout reaches within this many parts. */
export function reachOf(layout: PlannedLayout, maxParts: number): number {
  const last = rangeOf(layout, maxParts);
  return last === undefined ? 0 : last.offset + last.sizeBytes;
}
