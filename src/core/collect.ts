import { type BodyReader, lengthError } from './body-reader.ts';
import { compareRun, unverifiableError } from './compare-runs.ts';
import { largestFragmentBytes, smallestFragmentBytes } from './fragment-sizes.ts';
import type { Slot } from './layout.ts';
import { giveBack, type LeasedGap, leaseGap } from './lease-gap.ts';
import type { RangeWrite } from './range-write.ts';
import { requireEnd } from './require-end.ts';
import { release, storeRange } from './store-range.ts';
import { isWorthKeeping } from './stream-slot.ts';
import type { Run } from './upload.ts';

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
  const leased = await reader.meanwhile(leaseAhead(write, reader, place));
  const inPart = leased?.runs.find((run) => run.offset >= write.skipsTo && isInPart(run, at));
  if (leased !== undefined && inPart !== undefined && mayCompare(write, inPart, at)) {
    await giveBack(write, leased);
    return compareWithPart(write, reader, inPart, at);
  }
  const most = mostToCollect(write, place);
  const chunks: Buffer[] = [];
  let sizeBytes = 0;
  let countedBytes = 0;
  let failure: unknown;
  const mayBreak = () => sizeBytes >= smallestFragmentBytes;
  const hand = (chunk: Buffer) => {
    chunks.push(chunk);
    sizeBytes += chunk.length;
    if (countedBytes === sizeBytes - chunk.length && memory.take(chunk.length)) countedBytes += chunk.length;
    else if (mayBreak()) return false;
    return !(memory.isTight && clock.now().getTime() > slowAtMs && mayBreak());
  };
  try {
    do {
      // There is nothing yet that a checkpoint could make durable.
      write.checkpoint?.reached();
      await reader.flow(most - sizeBytes, hand);
    } while (sizeBytes === 0 && most > 0 && !reader.isDrained);
    if (write.bodyEnd !== undefined && reader.isDrained && at + sizeBytes < write.bodyEnd) throw lengthError('fewer');
    // Known in time, the end makes what came a part, however short.
    if (place.endsUpload && !write.checkpoint?.isDue && (await reader.isEndNext())) write.totalBytes ??= at + sizeBytes;
    if (at + sizeBytes === write.wantedEnd) {
      if (sizeBytes > 0) await requireEnd(write, reader);
      if (reader.isDrained || at + sizeBytes === write.bodyEnd) await write.verify();
    }
  } catch (error) {
    failure = error;
  }
  write.isLeaving = failure !== undefined;
  const bytes = { at, chunks, sizeBytes, countedBytes };
  // What can't be held against the digests of the whole body is not kept.
  const isKept = failure === undefined || (isWorthKeeping(failure) && write.stated === undefined);
  if (sizeBytes === 0 || !isKept) {
    release(write, bytes);
    if (leased !== undefined) await giveBack(write, leased);
  } else {
    const stored = storeRange(write, leased === undefined ? write.slotAt(at) : slot, bytes, leased);
    if (failure === undefined) await stored;
    else await stored.catch(() => undefined);
  }
  if (failure !== undefined) throw failure;
  return sizeBytes;
}

/** A part of an unfinished upload can't be read back: what comes there again is compared as it passes. */
function isInPart({ offset, sizeBytes, fragmentId }: Run, at: number): boolean {
  return fragmentId === undefined && offset <= at && at < offset + sizeBytes;
}

/** What can't be compared is refused, or passed over. */
function mayCompare({ passesTo, bodyEnd }: RangeWrite, run: Run, at: number): boolean {
  return run.offset >= passesTo || isWithin(run, at, bodyEnd);
}

function isWithin({ offset, sizeBytes }: Run, at: number, bodyEnd: number | undefined): boolean {
  const end = offset + sizeBytes;
  return offset >= at && end <= (bodyEnd ?? end);
}

/** @returns how many bytes. @throws UploadError `state_conflict` where they differ, or the body has not the whole run */
async function compareWithPart({ bodyEnd }: RangeWrite, reader: BodyReader, run: Run, at: number): Promise<number> {
  if (!isWithin(run, at, bodyEnd)) throw unverifiableError(run);
  await compareRun(run, (see) => reader.pass(run.sizeBytes, see));
  return run.sizeBytes;
}

/**
 * Where a piece ends is known of a body of known length: its place is leased before it is read, while its bytes come.
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
