import type { Readable } from 'node:stream';
import { BodyReader } from './body-reader.ts';
import { compareBody, compareWithCompleted } from './compare-completed.ts';
import { decideLayout, requirePlanned } from './decide-layout.ts';
import type { Deps } from './deps.ts';
import { ClientGoneError, UploadError } from './errors.ts';
import { requireOpen } from './find.ts';
import type { Slot } from './layout.ts';
import { requireSize } from './limits.ts';
import { DisplacedError } from './live-attempts.ts';
import type { Principal } from './principal.ts';
import { RangeWrite, sizeError } from './range-write.ts';
import { repeatSlot } from './repeat-slot.ts';
import { startMd5 } from './running-md5.ts';
import { isToComplete } from './settle.ts';
import { giveBack, type HeldBytes, type LeasedGap, leaseGap, release, storeRange } from './store-range.ts';
import { isOfClient, markCareful, type StreamedSlot, streamSlot } from './stream-slot.ts';
import { completeWhole, tellSize } from './tell-size.ts';
import type { Run, Upload } from './upload.ts';

const KiB = 1024;
/** The largest fragment: what is held for it until it is stored. */
const largestFragmentBytes = 8 * KiB * KiB;
/** With the budget used up, so much of a body is collected on top of it. */
const smallestFragmentBytes = 64 * KiB;
/** While memory is tight, what a slow client has sent is stored after so long, as soon as it is that much. */
const slowAfterMs = 2_000;

export interface WriteRangeInput {
  readonly principal: Principal;
  /** As it was last seen: what matters of it is read anew in the records. */
  readonly upload: Upload;
  /** Where the body's first byte belongs. */
  readonly offset: number;
  /** The body's length; `undefined`: until it ends. */
  readonly sizeBytes: number | undefined;
  /** The size of the whole, as the client tells; becomes the upload's where that was unknown. */
  readonly totalBytes?: number | undefined;
  /** The end of the body is the end of the whole. */
  readonly endsUpload?: boolean | undefined;
  /**
   * `anywhere`: bytes that are stored already are compared, and must be equal. `append`: one writer at a time, a newer
   * one displaces the older; bytes below the durable offset are passed over, a hole is refused.
   */
  readonly mode: 'anywhere' | 'append';
  /** The front has no call to complete: whoever brings the last byte completes. */
  readonly completes: boolean;
  /** How many bytes this client sends in each request, as far as known: the layout follows it. */
  readonly chunkSizeBytes?: number | undefined;
  /** Called once, when bytes are wanted: until then the client need not send them. */
  readonly body: () => Readable;
}

/**
 * Stores bytes at any offset: all of the body is durable when it resolves, and where it brought the last byte and
 * `completes`, the upload is `completed`.
 * @returns the upload afterwards; its `offset` is the end of the durable bytes from zero
 * @throws UploadError: `state_conflict` with `details.conflict: 'differs'` where stored bytes differ, with
 *   `'gap'` and `details.offset` where an append would leave a hole, with `'size'` and `details.expectedSize` where
 *   total or range do not fit the upload; `digest_mismatch`, `busy`, `upload_gone`, `store_*`, `overloaded`, …
 * @throws ClientGoneError when the body broke off: what came before is durable as far as the memory budget reached
 */
export async function writeRange(deps: Deps, input: WriteRangeInput): Promise<Upload> {
  const { upload, principal, offset, sizeBytes } = input;
  const ended = await endedUpload(deps, input);
  if (ended !== undefined) return compareWithCompleted(deps, ended, input);
  const totalBytes = input.totalBytes ?? (input.endsUpload && sizeBytes !== undefined ? offset + sizeBytes : undefined);
  requireSize(totalBytes ?? offset + (sizeBytes ?? 0), deps.settings);
  const wholeBytes = upload.sizeBytes ?? totalBytes;
  if (wholeBytes !== undefined && offset + (sizeBytes ?? 0) > wholeBytes)
    throw sizeError(upload, offset + (sizeBytes ?? 0));
  const planned = requirePlanned(
    await decideLayout(deps, requireOpen(upload), { chunkSizeBytes: input.chunkSizeBytes, totalBytes }),
  );
  const isAppend = input.mode === 'append';
  const writerId = isAppend ? deps.records.newLeaseId() : undefined;
  const write = new RangeWrite(deps, {
    principal,
    upload: planned,
    isAppend,
    completes: input.completes,
    writerId,
    totalBytes,
    // Google's clients are told the MD5 of the whole.
    chain: upload.protocol === 'google' && isAppend ? await startMd5(upload.digestChain) : undefined,
  });
  if (sizeBytes === 0) return end(write);
  const writer = writerId === undefined ? undefined : deps.attempts.begin(writerId, Number.POSITIVE_INFINITY);
  try {
    const completed = await writeBody(write, input, writer?.signal);
    if (completed !== undefined) return completed;
  } catch (error) {
    throw error instanceof DisplacedError
      ? new UploadError('busy', 'A newer request has taken over.', { retryAfterSeconds: 1, cause: error })
      : error;
  } finally {
    writer?.end();
    if (writerId !== undefined) await deps.records.endWriter({ uploadId: upload.id, writerId }).catch(() => undefined);
  }
  return end(write);
}

/** The upload, if it is completed; one that is being completed is waited for. */
async function endedUpload(deps: Deps, { upload, principal }: WriteRangeInput): Promise<Upload | undefined> {
  if (upload.state === 'completed') return upload;
  return upload.state === 'completing' ? completeWhole(deps, { principal, upload }) : undefined;
}

/** The bytes are durable: whoever brought the last one completes. */
async function end(write: RangeWrite): Promise<Upload> {
  const { deps, principal, upload, totalBytes, completes } = write;
  if (totalBytes !== undefined && upload.sizeBytes === undefined) {
    return tellSize(deps, { principal, upload, totalBytes, completes });
  }
  return isToComplete(upload, completes) ? completeWhole(deps, { principal, upload }) : upload;
}

/** @returns the upload, where it completed meanwhile */
async function writeBody(
  write: RangeWrite,
  input: WriteRangeInput,
  displaced: AbortSignal | undefined,
): Promise<Upload | undefined> {
  let reader: BodyReader | undefined;
  const read = () => {
    reader ??= openReader(write, input, displaced);
    return reader;
  };
  /** Slots whose last byte is on its way while the next one is read. */
  const underWay = new Set<Promise<void>>();
  let at = input.offset;
  const bodyEnd = input.sizeBytes === undefined ? undefined : at + input.sizeBytes;
  try {
    while (bodyEnd === undefined ? !(await read().isAtEnd()) : at < bodyEnd) {
      requireSize(at + 1, write.deps.settings);
      if (at === (write.upload.sizeBytes ?? write.totalBytes)) throw sizeError(write.upload, at + 1);
      const slot = write.slotAt(at);
      const streamed = isStreamed(write, slot, at, bodyEnd)
        ? await streamSlot(write, slot, read, Promise.all(underWay))
        : undefined;
      if (streamed !== undefined) {
        const stored = keepWhatCame(write, slot, streamed, Promise.all(underWay));
        stored.catch(() => undefined);
        await streamed.received.catch(() => stored);
        await Promise.all(underWay);
        underWay.clear();
        underWay.add(stored);
        at = slot.offset + slot.sizeBytes;
        continue;
      }
      await Promise.all(underWay);
      underWay.clear();
      const repeated = coversSlot(slot, at, bodyEnd) ? await repeatSlot(write, slot, read()) : false;
      at += repeated
        ? slot.sizeBytes
        : await collect(write, read(), { slot, at, bodyEnd, endsUpload: input.endsUpload === true });
    }
    await Promise.all(underWay);
    if (input.endsUpload) write.totalBytes ??= at;
  } catch (error) {
    const settled = await Promise.allSettled(underWay);
    const hasTaken = (reader?.takenBytes ?? 0) !== at - input.offset;
    if (!isEnding(error) || write.isAppend || hasTaken) throw error;
    for (const each of settled) if (each.status === 'rejected') throw each.reason;
    // All of it became durable meanwhile: this request gets the same answer as the one that completed it.
    const { deps, principal } = write;
    const completed = await completeWhole(deps, { principal, upload: write.upload });
    await compareBody(deps, completed, read(), { at, end: bodyEnd });
    return completed;
  } finally {
    reader?.end();
  }
  return undefined;
}

/** The upload took no more bytes when the next ones were to be leased. */
function isEnding(error: unknown): boolean {
  const state = error instanceof UploadError ? error.details.uploadState : undefined;
  return state === 'completing' || state === 'completed';
}

function openReader({ deps }: RangeWrite, input: WriteRangeInput, displaced: AbortSignal | undefined): BodyReader {
  const reader = new BodyReader(deps, input.body());
  const stop = () => reader.fail(displaced?.reason);
  if (displaced?.aborted) stop();
  else displaced?.addEventListener('abort', stop);
  return reader;
}

/** A slot that the body covers whole needs no fragment; a line that breaks often gets no slot through. */
function isStreamed({ upload }: RangeWrite, slot: Slot, at: number, bodyEnd: number | undefined): boolean {
  return coversSlot(slot, at, bodyEnd) && upload.carefulFragmentBytes === undefined;
}

function coversSlot(slot: Slot, at: number, bodyEnd: number | undefined): boolean {
  return at === slot.offset && bodyEnd !== undefined && bodyEnd >= slot.offset + slot.sizeBytes;
}

/** When the client breaks off in the middle of a slot, what came becomes fragments. */
async function keepWhatCame(
  write: RangeWrite,
  slot: Slot,
  streamed: StreamedSlot,
  before: Promise<unknown>,
): Promise<void> {
  const isBehindHole = before.then(
    () => false,
    () => write.isAppend,
  );
  try {
    await streamed.stored;
  } catch (error) {
    const kept = streamed.kept();
    write.isLeaving = true;
    if (kept === undefined) {
      if (isOfClient(error) && streamed.receivedBytes() > 0) {
        await markCareful(write.deps, write.upload.id, streamed.receivedBytes());
      }
    } else {
      const pieces = [...piecesOf(kept)];
      // An append has nothing behind a hole: what comes there next may be other bytes.
      if (await isBehindHole) for (const piece of pieces) release(write, piece);
      else await storeAll(write, slot, pieces);
    }
    throw error;
  }
}

/** As far as nobody else is in the way: the client is not told of it. */
async function storeAll(write: RangeWrite, slot: Slot, pieces: readonly HeldBytes[]): Promise<void> {
  let isStored = true;
  for (const piece of pieces) {
    if (!isStored) release(write, piece);
    else isStored = await storeRange(write, slot, piece).then(yes, no);
  }
}

const yes = () => true;
const no = () => false;

function* piecesOf({ at, chunks, countedBytes }: HeldBytes): Generator<HeldBytes> {
  let piece: Buffer[] = [];
  let sizeBytes = 0;
  let offset = at;
  let counted = countedBytes;
  const cut = (): HeldBytes => {
    const own = Math.min(counted, sizeBytes);
    counted -= own;
    const cutOff = { at: offset, chunks: piece, sizeBytes, countedBytes: own };
    offset += sizeBytes;
    piece = [];
    sizeBytes = 0;
    return cutOff;
  };
  for (const chunk of chunks) {
    if (sizeBytes + chunk.length > largestFragmentBytes) yield cut();
    piece.push(chunk);
    sizeBytes += chunk.length;
  }
  if (sizeBytes > 0) yield cut();
}

/**
 * Collects bytes of one slot and makes them durable: up to its end, or as much as one fragment may hold.
 * @returns how many
 * @throws what ended the body, once what came is durable
 */
async function collect(
  write: RangeWrite,
  reader: BodyReader,
  place: {
    readonly slot: Slot;
    readonly at: number;
    readonly bodyEnd: number | undefined;
    readonly endsUpload: boolean;
  },
): Promise<number> {
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
  await reader.flow(most, hand).catch((error: unknown) => {
    failure = error;
  });
  // Known in time, the end makes what came a part, however short.
  if (place.endsUpload && failure === undefined) {
    const isEnd = await reader.isAtEnd().catch((error: unknown) => {
      failure = error;
    });
    if (isEnd) write.totalBytes ??= at + sizeBytes;
  }
  write.isLeaving = failure !== undefined;
  if (sizeBytes > 0) {
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
async function leaseAhead(
  write: RangeWrite,
  reader: BodyReader,
  place: { readonly slot: Slot; readonly at: number; readonly bodyEnd: number | undefined },
): Promise<LeasedGap | undefined> {
  const { slot, at, bodyEnd } = place;
  const most = mostToCollect(write, place);
  const fillsSlot = at === slot.offset && most === slot.sizeBytes;
  if (bodyEnd === undefined || fillsSlot) return undefined;
  const leased = await leaseGap(write, slot, { from: at, to: at + most });
  leased.live.signal.addEventListener('abort', () => reader.fail(leased.live.signal.reason));
  return leased;
}

function mostToCollect(
  { upload, deps }: RangeWrite,
  { slot, at, bodyEnd }: { readonly slot: Slot; readonly at: number; readonly bodyEnd: number | undefined },
): number {
  const left = Math.min(slot.offset + slot.sizeBytes, bodyEnd ?? deps.settings.maxSizeBytes) - at;
  // Of a body of unknown length a whole slot is collected, as far as the budget reaches: it is a part then.
  const most = upload.carefulFragmentBytes ?? (bodyEnd === undefined ? left : largestFragmentBytes);
  return Math.min(left, most);
}
