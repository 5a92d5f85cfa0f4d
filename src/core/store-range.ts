import { requireSameBytes, slice } from './compare-runs.ts';
import { composeSlot, deleteComposed } from './compose.ts';
import type { Deps } from './deps.ts';
import { type Digests, startDigest } from './digest.ts';
import { expectedNext, followChunk } from './expect-next.ts';
import { multipartOf, type OpenUpload, requireOpen } from './find.ts';
import { freeBuffer } from './free-buffer.ts';
import { holdSlot } from './hold-slot.ts';
import { finishDigests, keptRunDigests } from './kept-digests.ts';
import type { Slot } from './layout.ts';
import { giveBack, type LeasedGap, leaseGap } from './lease-gap.ts';
import { DisplacedError, type LiveAttempt } from './live-attempts.ts';
import { toldOf } from './lose.ts';
import { StoreError } from './object-store.ts';
import type { DigestChainState } from './range-records.ts';
import type { RangeWrite, StoredPart } from './range-write.ts';
import { readBackOf } from './read-fragment.ts';
import { RunDigests } from './run-digests.ts';
import { mayPass, storePauseMs, storeTries, tellingFaults, toUploadError } from './store-faults.ts';
import type { AttemptAddress } from './upload-records.ts';

/** Bytes of one slot that are in memory, and that the budget counts. */
export interface HeldBytes {
  readonly at: number;
  readonly chunks: readonly Buffer[];
  readonly sizeBytes: number;
  /** As many of them as the budget counts. */
  readonly countedBytes: number;
}

/**
 * Makes bytes in memory durable: those that fill a slot as its part, others as fragments in the slot's gaps. What is
 * stored at their place already is compared. Takes the bytes over, with what the budget counts for them.
 * @param leased the gap that the first of the bytes are for, where it was leased before they came
 * @throws UploadError
 */
export async function storeRange(write: RangeWrite, slot: Slot, bytes: HeldBytes, leased?: LeasedGap): Promise<void> {
  let isHeld = false;
  try {
    const fillsSlot = bytes.at === slot.offset && bytes.sizeBytes === slot.sizeBytes;
    if (fillsSlot && leased === undefined && (await storeWhole(write, slot, bytes))) return;
    isHeld = await storeGaps(write, slot, bytes, leased);
  } finally {
    if (!isHeld) release(write, bytes);
  }
}

export function release({ deps, ownsBuffers }: RangeWrite, { chunks, countedBytes }: HeldBytes): void {
  deps.memory.give(countedBytes);
  if (ownsBuffers) chunks.forEach(freeBuffer);
}

/** As the slot's part, straight from memory. `false`: some of it is durable already. */
async function storeWhole(write: RangeWrite, slot: Slot, { at, chunks, sizeBytes }: HeldBytes): Promise<boolean> {
  const { deps } = write;
  const begun = await write.leasePart(slot, { from: at, to: at + sizeBytes });
  if (begun.kind === 'not_whole') return false;
  const upload = requireOpen(begun.upload);
  const { partNumber } = slot;
  const held = holdSlot(deps, write.addressOf(slot, begun.attemptId), begun.heldUntilMs);
  let part: StoredPart | undefined;
  let chain: DigestChainState | undefined;
  await write.pieces.carry({
    offset: slot.offset,
    store: async () => {
      held.live.seal();
      const digest = new RunDigests(upload, slot);
      for (const chunk of chunks) digest.update(chunk);
      const { etag } = await sendAgain(write, 'uploadPart', (signal) =>
        deps.store.uploadPart({ ...multipartOf(upload), partNumber, body: chunks, sizeBytes }, { signal }),
      );
      part = { slot, etag, ...(await digest.finish()) };
      chain = chainAfter(write, at, chunks);
    },
    commit: () => write.commitPart(begun.attemptId, part, chain),
    giveUp: async (reason) => {
      await held.giveBack(reason);
      return told(deps, upload, reason);
    },
    end: held.end,
  });
  return true;
}

/** Fills the gaps that the bytes reach. Whether the bytes are held on, for composing. */
async function storeGaps(
  write: RangeWrite,
  slot: Slot,
  bytes: HeldBytes,
  leased: LeasedGap | undefined,
): Promise<boolean> {
  const { deps } = write;
  const end = bytes.at + bytes.sizeBytes;
  let next = leased;
  let tooLate: LiveAttempt | undefined;
  let attempt = 1;
  for (let at = bytes.at; at < end; ) {
    const lease: LeasedGap = next ?? (await leaseGap(write, slot, { from: at, to: end }, tooLate));
    next = undefined;
    try {
      const readBack = readBackOf(deps, requireOpen(write.upload));
      const runs = lease.runs.filter(({ offset }) => offset >= write.skipsTo);
      await requireSameBytes(runs, bytes.at, bytes.chunks, readBack, write.passesTo);
    } catch (error) {
      await giveBack(write, lease);
      throw toUploadError(error);
    }
    const { gap } = lease;
    if (gap === undefined || gap.from >= end) {
      await giveBack(write, lease);
      return false;
    }
    const place = { from: gap.from, to: Math.min(gap.to, end) };
    const isAll = place.from === bytes.at && place.to === end;
    const chunks = isAll ? bytes.chunks : [...slice(bytes.chunks, place.from - bytes.at, place.to - bytes.at)];
    try {
      const isHeld = await storeFragment(write, slot, lease, { ...place, chunks }, isAll ? bytes.countedBytes : 0);
      if (isAll) return isHeld;
      at = place.to;
      attempt = 1;
    } catch (error) {
      if (lease.isExpected && error instanceof DisplacedError) {
        tooLate = lease.live;
        continue;
      }
      if (!mayPass(error) || attempt === storeTries) throw await told(deps, requireOpen(write.upload), error);
      // What was given up may land yet, so the next try has a name of its own.
      await deps.clock.sleep(storePauseMs * attempt, deps.halted);
      attempt += 1;
    }
  }
  return false;
}

/** A slow line brings bytes in crumbs, each of which costs more than itself: those are joined. */
const smallestPieceBytes = 16 * 1024;

function compact(chunks: readonly Buffer[], sizeBytes: number): readonly Buffer[] {
  return chunks.length * smallestPieceBytes <= sizeBytes ? chunks : [Buffer.concat(chunks, sizeBytes)];
}

/** @returns whether its bytes are held on, for composing: where the budget counts all of them */
async function storeFragment(
  write: RangeWrite,
  slot: Slot,
  { fragmentId, attemptId, stagingKey, live, end }: LeasedGap,
  { from, to, chunks }: { readonly from: number; readonly to: number; readonly chunks: readonly Buffer[] },
  countedBytes: number,
): Promise<boolean> {
  const { deps } = write;
  const { records } = deps;
  const sizeBytes = to - from;
  const upload = requireOpen(write.upload);
  const pieces = compact(chunks, sizeBytes);
  let isHeld = false;
  let digests: Digests = {};
  let chain: DigestChainState | undefined;
  const commit = async () => {
    const next = expectedNext(write, to);
    const keptUntilMs = deps.clock.now().getTime() + deps.settings.leaseMs;
    const composition = write.addressOf(slot, deps.newLeaseId());
    const committing = records.commitFragment({
      uploadId: upload.id,
      fragmentId,
      attemptId,
      sizeBytes,
      digests,
      slot,
      composeAttemptId: composition.attemptId,
      leaseMs: deps.settings.leaseMs,
      ...write.termUntil(to),
      chain,
      next,
    });
    const committed = await committing.catch((error: unknown) => {
      deps.leftLeases.leave(droppingSlot(deps, composition));
      throw error;
    });
    if (committed.kind !== 'committed') {
      // Of a row that is gone by now nobody else would know.
      await deps.store.deleteObjects({ bucket: upload.bucket, keys: [stagingKey] }).catch(() => undefined);
      throw await write.refused(committed.kind);
    }
    const current = requireOpen(write.committed(committed.upload, to));
    deps.events.emit({ type: 'fragment_stored', uploadId: upload.id, offset: from, sizeBytes });
    isHeld = countedBytes === sizeBytes && write.ownsBuffers && write.stated === undefined;
    if (isHeld) deps.held.hold(fragmentId, pieces, countedBytes);
    followChunk(write, to, next && committed.isNextExpected ? { ...next, keptUntilMs } : undefined);
    const { covered } = committed;
    if (covered !== undefined) {
      await deps.compositions.start(
        upload.id,
        () => composeSlot(deps, current, covered),
        () => deleteComposed(deps, upload.bucket, covered.fragments),
      );
    }
  };
  try {
    await write.pieces.carry({
      offset: from,
      store: async () => {
        // Who was displaced may commit what it holds: the records decide.
        if (!write.isLeaving) live.seal();
        digests = await digestsOf(write, chunks);
        chain = chainAfter(write, from, chunks);
        await tellingFaults(deps, 'putObject', upload.id, () =>
          deps.store.putObject(
            { bucket: upload.bucket, key: stagingKey, body: pieces, sizeBytes },
            { signal: deps.halted },
          ),
        );
      },
      commit,
      giveUp: async (reason) => {
        if (reason instanceof StoreError) write.ownsBuffers = false;
        await deps.leftLeases.giveBack(droppingFragment(deps, { fragmentId, attemptId }));
        return reason;
      },
      end,
    });
    if (isHeld && pieces !== chunks) chunks.forEach(freeBuffer);
    return isHeld;
  } finally {
    if (!isHeld && pieces !== chunks && write.ownsBuffers) pieces.forEach(freeBuffer);
  }
}

// Made here, and not where the bytes are: a lease that is left for later would keep those, too.

function droppingFragment({ records }: Deps, fragment: { readonly fragmentId: string; readonly attemptId: string }) {
  return () => records.dropFragment(fragment);
}

function droppingSlot({ records }: Deps, attempt: AttemptAddress) {
  return () => records.dropAttempt({ ...attempt, uncertain: false });
}

/** The store's failures are not the client's, as long as the bytes are here. */
async function sendAgain<T>(write: RangeWrite, call: string, send: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const { deps, upload } = write;
  for (let attempt = 1; ; attempt++) {
    try {
      return await tellingFaults(deps, call, upload.id, () => send(deps.halted));
    } catch (error) {
      write.ownsBuffers = false;
      if (!mayPass(error) || attempt === storeTries) throw error;
      await deps.clock.sleep(storePauseMs * attempt, deps.halted);
    }
  }
}

async function digestsOf(write: RangeWrite, chunks: readonly Buffer[]): Promise<Digests> {
  const digests = keptRunDigests(write.upload).map(startDigest);
  for (const digest of digests) for (const chunk of chunks) digest.update(chunk);
  return finishDigests(digests);
}

/** The hash state to be saved with these bytes, if the chain ends where they do. */
function chainAfter({ chain }: RangeWrite, at: number, chunks: readonly Buffer[]): DigestChainState | undefined {
  if (chain === undefined) return undefined;
  let offset = at;
  for (const chunk of chunks) {
    chain.feed(offset, chunk);
    offset += chunk.length;
  }
  const saved = chain.save();
  return saved?.endsAt === offset ? saved : undefined;
}

async function told(deps: Deps, upload: OpenUpload, error: unknown): Promise<unknown> {
  return error instanceof DisplacedError ? error : toldOf(deps, upload, error);
}
