import { type PlannedLayout, rangeOf } from '../core/layout.ts';
import { isPartwayError, SourceError, UsageError } from './errors.ts';
import { Slot } from './slot.ts';
import { bodyOf } from './sources/bytes-source.ts';
import type { StreamSource } from './sources/source.ts';
import type { Transfer } from './transfer.ts';

const MiB = 1024 ** 2;
const smallestPieceBytes = MiB;

/** How a window is shared by what is on its way and what is being collected. */
export interface WindowPlan {
  readonly parallel: number;
  /** The most that one request carries. */
  readonly pieceBytes: number;
}

/** Whole parts where the window has room for two of them at least; fewer at once rather than pieces of parts. */
export function planWindow(windowBytes: number, partSizeBytes: number, parallel: number): WindowPlan {
  const parts = Math.floor(windowBytes / partSizeBytes);
  if (parts >= 2) return { parallel: Math.min(parallel, parts - 1), pieceBytes: partSizeBytes };
  const even = Math.floor(windowBytes / (parallel + 1) / MiB) * MiB;
  return { parallel, pieceBytes: Math.max(smallestPieceBytes, even) };
}

/** A slot whose bytes are in memory. */
export interface HeldSlot {
  readonly slot: Slot;
  /** To be called when it is stored: its memory serves another. */
  readonly free: () => void;
}

/**
 * Collects what a source brings, slot by slot; of a slot that is larger than a piece, piece by piece. Each is held until
 * it is stored. The last is handed out only once the source has ended well.
 */
export async function* streamSlots(
  transfer: Transfer,
  source: StreamSource,
  limits: { readonly windowBytes: number; readonly parallel: number },
): AsyncGenerator<HeldSlot> {
  const layout = layoutOf(transfer);
  const reader = new Reader(source, transfer.signal);
  const memory = new SlotMemory();
  let offset = 0;
  for (let partNumber = 1; ; partNumber++) {
    const place = rangeOf(layout, partNumber, source.sizeBytes);
    if (place === undefined || place.sizeBytes === 0) break;
    const end = place.offset + place.sizeBytes;
    const plan = planWindow(limits.windowBytes, place.sizeBytes, limits.parallel);
    transfer.parallelism.limitTo(plan.parallel);
    while (offset < end) {
      const bytes = await reader.fill(memory.take(Math.min(plan.pieceBytes, end - offset)));
      const hasEnded = await reader.hasEnded();
      if (bytes.length > 0) {
        const slot = slotOf(partNumber, place, offset, bytes, hasEnded);
        yield { slot, free: () => memory.giveBack(slot, bytes) };
      }
      offset += bytes.length;
      transfer.progress.totalBytes = source.sizeBytes ?? (hasEnded ? offset : undefined);
      if (hasEnded) return requireSize(source, offset);
    }
  }
  if (!(await reader.hasEnded())) throw tooLong(source);
  requireSize(source, offset);
}

/** Fresh memory costs a page fault for every 4 KiB. */
class SlotMemory {
  #free: Uint8Array<ArrayBuffer>[] = [];

  take(sizeBytes: number): Uint8Array<ArrayBuffer> {
    const buffer = this.#free.pop();
    // Parts that have grown leave smaller buffers behind.
    if (buffer === undefined || buffer.length < sizeBytes) return new Uint8Array(sizeBytes);
    return buffer.subarray(0, sizeBytes);
  }

  giveBack(slot: Slot, { buffer }: Uint8Array<ArrayBuffer>): void {
    if (!slot.wasRetried) this.#free.push(new Uint8Array(buffer));
  }
}

function slotOf(
  partNumber: number,
  place: { readonly offset: number; readonly sizeBytes: number },
  offset: number,
  bytes: Uint8Array,
  hasEnded: boolean,
): Slot {
  const endsPart = hasEnded || offset + bytes.length === place.offset + place.sizeBytes;
  return new Slot(
    { partNumber, offset, sizeBytes: bytes.length, isPart: endsPart && offset === place.offset, endsPart },
    (from, sizeBytes) => bodyOf(bytes.subarray(from - offset, from - offset + sizeBytes)),
  );
}

function layoutOf({ upload }: Transfer): PlannedLayout {
  const { partSize: partSizeBytes = 0, growEvery, maxPartSize: maxPartSizeBytes } = upload;
  return {
    kind: 'planned',
    partSizeBytes,
    ...(growEvery !== undefined && { growEvery }),
    ...(maxPartSizeBytes !== undefined && { maxPartSizeBytes }),
  };
}

/** @throws SourceError */
function requireSize(source: StreamSource, sizeBytes: number): void {
  if (source.sizeBytes === undefined || source.sizeBytes === sizeBytes) return;
  throw new SourceError(`The source ended after ${sizeBytes} bytes of ${source.sizeBytes}.`, {
    code: 'source_changed',
  });
}

function tooLong(source: StreamSource): SourceError {
  return new SourceError(`The source has more than its ${source.sizeBytes} bytes.`, { code: 'source_changed' });
}

/** So many bytes at a time, whatever pieces they come in. */
class Reader {
  readonly #iterator: AsyncIterator<Uint8Array>;
  readonly #signal: AbortSignal;
  #stop: (reason: unknown) => void = () => {};
  #rest: Uint8Array = new Uint8Array();
  #hasEnded = false;

  constructor(source: StreamSource, signal: AbortSignal) {
    this.#iterator = source.pieces[Symbol.asyncIterator]();
    this.#signal = signal;
    const stop = () => {
      this.#stop(signal.reason);
      // What it waits for may never come: nobody waits with it.
      this.#leave().catch(() => {});
    };
    if (signal.aborted) stop();
    else signal.addEventListener('abort', stop, { once: true });
  }

  /** Fewer only at the end. */
  async fill(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
    let length = 0;
    while (length < bytes.length && !(await this.hasEnded())) {
      const piece = this.#rest.subarray(0, bytes.length - length);
      bytes.set(piece, length);
      length += piece.length;
      this.#rest = this.#rest.subarray(piece.length);
    }
    return bytes.subarray(0, length);
  }

  /** Waits for the next piece where it must. */
  async hasEnded(): Promise<boolean> {
    while (this.#rest.length === 0 && !this.#hasEnded) {
      const { done, value } = await this.#next();
      if (done === true) this.#hasEnded = true;
      else this.#rest = requireBytes(value);
    }
    return this.#hasEnded;
  }

  /** Not raced against one promise for all of them, which would keep something of each. */
  #next(): Promise<IteratorResult<Uint8Array>> {
    this.#signal.throwIfAborted();
    return new Promise((resolve, reject) => {
      this.#stop = reject;
      this.#pull().then(resolve, (error: unknown) => reject(brokeOff(error)));
    });
  }

  /* As `for await` takes them, iterators may answer without a promise, and throw at once. */
  async #pull(): Promise<IteratorResult<Uint8Array>> {
    return this.#iterator.next();
  }

  async #leave(): Promise<void> {
    await this.#iterator.return?.();
  }
}

/**
 * Of other arrays every element would become a byte.
 * @throws UsageError
 */
function requireBytes(piece: unknown): Uint8Array {
  if (ArrayBuffer.isView(piece) && Object.prototype.toString.call(piece) === '[object Uint8Array]') {
    return piece as Uint8Array;
  }
  throw new UsageError('source: an async iterable of bytes brings Uint8Arrays, nothing else');
}

function brokeOff(error: unknown): unknown {
  if (isPartwayError(error)) return error;
  return new SourceError(`The source broke off: ${error instanceof Error ? error.message : String(error)}`, {
    code: 'source_unreadable',
    cause: error,
  });
}
