import { CheckpointError } from './checkpoints.ts';
import { carefulFragmentBytes, largestFragmentBytes } from './fragment-sizes.ts';
import type { Slot } from './layout.ts';
import type { RangeWrite } from './range-write.ts';
import { type HeldBytes, release, storeRange } from './store-range.ts';
import { isWorthKeeping, type StreamedSlot } from './stream-slot.ts';

const carefulForMs = 600_000;

/**
 * When the client breaks off in the middle of a slot, or a checkpoint is wanted, what came becomes fragments.
 * @returns how much of the slot is stored: all of it, or what came until a checkpoint
 */
export async function keepWhatCame(
  write: RangeWrite,
  slot: Slot,
  streamed: StreamedSlot,
  before: Promise<unknown>,
): Promise<number> {
  const isBehindHole = before.then(
    () => false,
    () => write.isAppend,
  );
  try {
    await streamed.stored;
    return slot.sizeBytes;
  } catch (error) {
    const kept = streamed.kept();
    if (error instanceof CheckpointError && kept !== undefined) {
      await before.catch((reason: unknown) => {
        release(write, kept);
        throw reason;
      });
      await storeEach(write, slot, [...piecesOf(kept)]);
      return kept.sizeBytes;
    }
    write.isLeaving = true;
    if (kept === undefined) {
      // Small fragments help nobody whose body counts as a whole or not at all.
      if (isWorthKeeping(error) && streamed.receivedBytes() > 0 && write.stated === undefined) {
        await markCareful(write, streamed.receivedBytes());
      }
    } else {
      const pieces = [...piecesOf(kept)];
      // An append has nothing behind a hole: what comes there next may be other bytes.
      if (await isBehindHole) for (const piece of pieces) release(write, piece);
      // As far as nobody else is in the way: the client is not told of it.
      else await storeEach(write, slot, pieces).catch(() => undefined);
    }
    throw error;
  }
}

/** Nothing of the slot was held, and so it was lost: what comes next goes to the store in fragments that get through. */
async function markCareful({ deps, upload }: RangeWrite, receivedBytes: number): Promise<void> {
  const fragmentBytes = carefulFragmentBytes(receivedBytes);
  await deps.records.markCareful({ uploadId: upload.id, fragmentBytes, forMs: carefulForMs }).catch(() => undefined);
}

/** One after the other; those behind one that fails are let go. */
async function storeEach(write: RangeWrite, slot: Slot, pieces: readonly HeldBytes[]): Promise<void> {
  let failure: { readonly error: unknown } | undefined;
  for (const piece of pieces) {
    if (failure !== undefined) release(write, piece);
    else {
      failure = await storeRange(write, slot, piece).then(
        () => undefined,
        (error: unknown) => ({ error }),
      );
    }
  }
  if (failure !== undefined) throw failure.error;
}

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
