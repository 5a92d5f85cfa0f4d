import { type BodyReader, lengthError } from './body-reader.ts';
import { CheckpointError } from './checkpoints.ts';
import { ClientGoneError, UploadError } from './errors.ts';
import { multipartOf, requireOpen } from './find.ts';
import { holdSlot } from './hold-slot.ts';
import type { Slot } from './layout.ts';
import { DisplacedError } from './live-attempts.ts';
import { toldOf } from './lose.ts';
import type { DigestChainState } from './range-records.ts';
import type { RangeWrite, StoredPart } from './range-write.ts';
import { requireEnd } from './require-end.ts';
import { RunDigests } from './run-digests.ts';
import { SlotBody } from './slot-body.ts';
import { mayPass, storePauseMs, storeTries, tellingFaults } from './store-faults.ts';
import type { HeldBytes } from './store-range.ts';

/** A slot under way to the store. */
export interface StreamedSlot {
  /** Resolves when the body's share of the slot has been read: the next slot may begin. */
  readonly received: Promise<void>;
  /**
   * Resolves when the part is on record, or waits for the digests of the body. Rejects with what went wrong; `kept` then
   * tells what can be saved of it.
   */
  readonly stored: Promise<void>;
  /** What came until the body broke off; the taker owes it to the budget. */
  kept(): HeldBytes | undefined;
  /** How much came of it. */
  receivedBytes(): number;
}

/**
 * Pipes one whole slot through to the store as its part.
 * @param before the slots before it: an append records none of its bytes behind a hole
 * @returns `undefined` where some of the slot is durable already
 */
export async function streamSlot(
  write: RangeWrite,
  slot: Slot,
  read: () => BodyReader,
  before: Promise<unknown>,
): Promise<StreamedSlot | undefined> {
  const { deps } = write;
  // Who began them throws it.
  before.catch(() => undefined);
  const range = { from: slot.offset, to: slot.offset + slot.sizeBytes };
  const begun = await write.leasePart(slot, range);
  if (begun.kind === 'not_whole') return undefined;
  const upload = requireOpen(begun.upload);
  const reader = read();
  const { live, giveBack, end } = holdSlot(deps, write.addressOf(slot, begun.attemptId), begun.heldUntilMs);
  const digest = new RunDigests(upload, slot);
  const isRead = Promise.withResolvers<void>();
  const body = new SlotBody({
    sizeBytes: slot.sizeBytes,
    budget: deps.memory,
    digest,
    beforeLast: async () => {
      if (range.to === write.bodyEnd) {
        await isRead.promise;
        await requireEnd(write, reader);
        await write.verify();
      }
      live.seal();
    },
  });
  let chain: DigestChainState | undefined;
  let kept: HeldBytes | undefined;

  /** What came of the slot becomes fragments, and the writer goes on behind them. */
  const makeCheckpoint = async () => {
    if (body.isHeld && body.receivedBytes > 0) {
      body.keep();
      throw new CheckpointError();
    }
    await before.catch(() => undefined);
    write.checkpoint?.reached();
  };

  const receive = async () => {
    const onStop = () => reader.fail(live.signal.reason);
    live.signal.addEventListener('abort', onStop);
    // Where the store takes nothing, what has come waits no longer for room: the end of the body must be met.
    reader.onFail = () => body.letIn();
    try {
      let at = slot.offset;
      const hand = (chunk: Buffer) => {
        write.chain?.feed(at, chunk);
        at += chunk.length;
        body.write(chunk);
        return body.hasRoom;
      };
      for (let left = slot.sizeBytes; left > 0; ) {
        if (write.checkpoint?.isDue) await makeCheckpoint();
        const handed = await reader.flow(left, hand);
        if (handed === 0 && reader.isDrained) throw lengthError('fewer');
        left -= handed;
        await body.room();
        if (body.failure !== undefined) throw body.failure;
      }
      const saved = write.chain?.save();
      chain = saved?.endsAt === range.to ? saved : undefined;
    } catch (error) {
      body.fail(error instanceof Error ? error : new Error(String(error)));
      throw error;
    } finally {
      isRead.resolve();
      reader.onFail = undefined;
      live.signal.removeEventListener('abort', onStop);
    }
  };

  const store = async () => {
    for (let attempt = 1; ; attempt++) {
      try {
        return await tellingFaults(deps, 'uploadPart', upload.id, () =>
          deps.store
            .uploadPart(
              {
                ...multipartOf(upload),
                partNumber: slot.partNumber,
                body: body.open(),
                sizeBytes: slot.sizeBytes,
              },
              { signal: deps.halted },
            )
            // A client that leaves, or a checkpoint, is no fault of the store.
            .catch((error: unknown) => {
              throw body.failure ?? error;
            }),
        );
      } catch (error) {
        if (!mayPass(error) || attempt === storeTries) throw error;
        if (body.isHeld && body.failure === undefined) await deps.clock.sleep(storePauseMs * attempt, deps.halted);
        // What was held may have been given up meanwhile.
        if (!body.isHeld || body.failure !== undefined) throw error;
      }
    }
  };

  const received = receive();
  let part: StoredPart | undefined;
  const stored = write.pieces.carry({
    offset: slot.offset,
    store: async () => {
      const { etag } = await store();
      await received;
      part = { slot, etag, ...(await digest.finish()) };
      // It is held on only for a client that breaks off, or a store.
      if (write.stated !== undefined) body.free();
    },
    commit: async () => {
      if (write.isAppend) await before;
      await write.commitPart(begun.attemptId, part, chain);
      body.free();
    },
    giveUp: async (reason) => {
      const cause = body.failure ?? reason;
      // The store has failed for good: nobody reads on.
      body.fail(cause instanceof Error ? cause : new Error(String(cause)));
      if (!(cause instanceof CheckpointError)) reader.fail(cause);
      // What can't be held against the digests of the whole body is not kept.
      if (isWorthKeeping(cause) && body.isHeld && body.receivedBytes > 0 && write.stated === undefined) {
        const chunks = body.chunks();
        const sizeBytes = body.receivedBytes;
        kept = { at: slot.offset, chunks, sizeBytes, countedBytes: body.handOver() };
        // The call that was cut off had them, too.
        write.ownsBuffers = false;
      } else {
        body.dispose();
      }
      await giveBack(cause);
      return toldOf(deps, upload, cause);
    },
    end,
  });
  // Both are awaited by the caller, one after the other.
  stored.catch(() => undefined);
  received.catch(() => undefined);
  return { received, stored, kept: () => kept, receivedBytes: () => body.receivedBytes };
}

/** Whether it is not the store that broke off: what came of the body is worth keeping. */
export function isWorthKeeping(cause: unknown): boolean {
  return (
    cause instanceof ClientGoneError ||
    cause instanceof DisplacedError ||
    cause instanceof CheckpointError ||
    (cause instanceof UploadError && (cause.code === 'body_timeout' || cause.code === 'overloaded'))
  );
}
