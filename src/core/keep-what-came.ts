import type { Slot } from './layout.ts';
import type { RangeWrite } from './range-write.ts';
import { type HeldBytes, release, storeRange } from './store-range.ts';
import { isOfClient, markCareful, type StreamedSlot } from './stream-slot.ts';

/** The largest fragment: what is held for it until it is stored. */
export const largestFragmentBytes = 8 * 1024 * 1024;

/** When the client breaks off in the middle of a slot, what came becomes fragments. */
export async function keepWhatCame(
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
