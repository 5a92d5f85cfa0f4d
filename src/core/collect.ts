import type { BodyReader } from './body-reader.ts';
import { ClientGoneError } from './errors.ts';
import { largestFragmentBytes } from './keep-what-came.ts';
import type { Slot } from './layout.ts';
import type { RangeWrite } from './range-write.ts';
import { giveBack, type LeasedGap, leaseGap, release, storeRange } from './store-range.ts';
import type { Run } from './upload.ts';

/** With the budget used up, so much of a body is collected on top of it. */
const smallestFragmentBytes = 64 * 1024;
/** While memory is tight, what a slow client has sent is stored after so long, as soon as it is that much. */
const slowAfterMs = 2_000;

interface Place {
  readonly slot: Slot;
  readonly at: number;
  /** The end of the body is the end of the whole. */
  readonly endsUpload: boolean;
}

/**
 * Collects bytes of one slot and makes them durable: up to its end, or as much as one fragment may hold.
 * @returns how many
 * @throws what ended the body, once what came is durable
 */
export async function collect(write: RangeWrite, reader: BodyReader, place: Place): Promise<number> {
  const { memory, clock } = write.deps;
  const slowAtMs = clock.now().getTime() + slowAfterMs;
  const { slot, at } = place;
  const leased = await leaseAhead(write, reader, place);
  const runs = leased?.runs ?? [];
  const most = endOutsideRuns(runs, at + mostToCollect(write, place)) - at;
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  let countedBytes = 0;
  let failure: unknown;
  const mayBreak = () => sizeBytes >= smallestFragmentBytes && endOutsideRuns(runs, at + sizeBytes) === at + sizeBytes;
  const hand = (chunk: Buffer) => {
    chunks.push(chunk);
    sizeBytes += chunk.length;
    if (countedBytes === sizeBytes - chunk.length && memory.take(chunk.length)) countedBytes += chunk.length;
    else if (mayBreak()) return false;
    return !(memory.isTight && clock.now().getTime() > slowAtMs && mayBreak());
  };
  try {
    // With nothing to make durable an interruption says nothing.
    do await reader.flow(most - sizeBytes, hand);
    while (sizeBytes === 0 && most > 0 && !reader.hasEnded);
  } catch (error) {
    failure = error;
  }
  // Known in time, the end makes what came a part, however short.
  if (place.endsUpload && failure === undefined && !write.checkpoint?.isDue) {
    const isEnd = await reader.isEndNext().catch((error: unknown) => {
      failure = error;
    });
    if (isEnd) write.totalBytes ??= at + sizeBytes;
  }
  if (failure === undefined && at + sizeBytes === write.bodyEnd) {
    await write.stated?.verify().catch((error: unknown) => {
      failure = error;
    });
  }
  write.isLeaving = failure !== undefined;
  // What can't be held against the digests of the whole body is not kept.
  if (failure !== undefined && write.stated !== undefined) {
    release(write, { at, chunks, sizeBytes, countedBytes });
    if (leased !== undefined) await giveBack(write, leased);
  } else if (sizeBytes > 0) {
    const bytes = { at, chunks, sizeBytes, countedBytes };
    const stored = storeRange(write, leased === undefined ? write.slotAt(at) : slot, bytes, leased);
    if (failure === undefined) await stored;
    else await stored.catch(() => undefined);
  } else if (leased !== undefined) await giveBack(write, leased);
  if (failure !== undefined) throw failure;
  if (sizeBytes === 0) throw new ClientGoneError('the body ended early');
  return sizeBytes;
}

/** A run is compared as a whole: one in which the piece would end is taken to its own end. */
function endOutsideRuns(runs: readonly Run[], end: number): number {
  const cut = runs.find(({ offset, sizeBytes }) => offset < end && offset + sizeBytes > end);
  return cut === undefined ? end : cut.offset + cut.sizeBytes;
}

/**
 * Where a piece ends is known of a body of known length: its place is leased before it is read, while the first bytes come.
 * A newer request for it ends the reading.
 */
async function leaseAhead(write: RangeWrite, reader: BodyReader, place: Place): Promise<LeasedGap | undefined> {
  const { slot, at } = place;
  const { bodyEnd } = write;
  const most = mostToCollect(write, place);
  const fillsSlot = at === slot.offset && most === slot.sizeBytes;
  if (bodyEnd === undefined || fillsSlot) return undefined;
  const leased = await leaseGap(write, slot, { from: at, to: at + most });
  leased.live.signal.addEventListener('abort', () => reader.fail(leased.live.signal.reason));
  return leased;
}

function mostToCollect({ upload, deps, bodyEnd }: RangeWrite, { slot, at }: Place): number {
  const left = Math.min(slot.offset + slot.sizeBytes, bodyEnd ?? deps.settings.maxSizeBytes) - at;
  // Of a body of unknown length a whole slot is collected, as far as the budget reaches: it is a part then.
  const most = upload.carefulFragmentBytes ?? (bodyEnd === undefined ? left : largestFragmentBytes);
  return Math.min(left, most);
}
