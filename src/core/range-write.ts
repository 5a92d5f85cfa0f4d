import type { Checkpoint } from './checkpoints.ts';
import type { PlannedUpload } from './decide-layout.ts';
import type { Deps } from './deps.ts';
import type { Digests } from './digest.ts';
import { UploadError } from './errors.ts';
import { notFoundError, notOpen, requireSeen } from './find.ts';
import { rangeOf, type Slot, slotOf } from './layout.ts';
import { DisplacedError, type LiveAttempt } from './live-attempts.ts';
import { Pieces } from './pieces.ts';
import type { Principal } from './principal.ts';
import { busyError, endedError, gapError, refusalError, sizeError } from './range-errors.ts';
import type { DigestChainState, RangeRefusal, WantedRange } from './range-records.ts';
import type { RunningMd5 } from './running-md5.ts';
import type { StatedDigests } from './stated-digests.ts';
import type { Run, Upload } from './upload.ts';
import type { AttemptAddress } from './upload-records.ts';
import type { WholeMd5 } from './whole-md5.ts';

/** An append writer that was asked to stop may still commit for so long. */
export const displaceAfterMs = 2_000;
const firstPollMs = 50;
const slowestPollMs = 250;

/** A slot's bytes as the store has them. */
export interface StoredPart {
  readonly slot: Slot;
  readonly etag: string;
  readonly digests: Digests;
  readonly runs: readonly Run[];
}

interface ByteSpan {
  readonly from: number;
  readonly to: number;
}

type Begun = { readonly kind: 'begun' | 'not_whole'; readonly upload: Upload };

type Leased<T> = T & { readonly attemptId: string; readonly heldUntilMs: number };

interface Leasing<T extends Begun> {
  begin(wanted: WantedRange): Promise<T | RangeRefusal>;
  /** Gives back what `begin` leased. */
  drop(attemptId: string): Promise<void>;
  /** An attempt of this request's at the range for which others were quicker: newer ones are not asked to give way. */
  readonly tooLate?: LiveAttempt | undefined;
}

/** One request that writes a range: what its pieces have in common. */
export class RangeWrite {
  readonly deps: Deps;
  readonly principal: Principal;
  readonly isAppend: boolean;
  /** Of an append: bytes that are durable already are not passed over, but refused. */
  readonly isExact: boolean;
  readonly completes: boolean;
  /** The one writer of an append upload. */
  readonly writerId: string | undefined;
  readonly chain: RunningMd5 | undefined;
  /** Nothing counts until these are true of the whole body. */
  readonly stated: StatedDigests | undefined;
  /** The last byte counts only if these are true of the whole body. */
  readonly whole: StatedDigests | WholeMd5 | undefined;
  readonly pieces: Pieces;
  /** Where the body's first byte belongs. */
  readonly bodyStart: number;
  /** Where the body ends, if its length is known. */
  readonly bodyEnd: number | undefined;
  /** Of an append writer whose bytes count as they come. */
  readonly checkpoint: Checkpoint | undefined;
  /** Hears of the offset with each commit. */
  readonly onOffset: ((offset: number) => void) | undefined;
  totalBytes: number | undefined;
  /** Every call that was given this request's buffers has succeeded: nobody else holds them. */
  ownsBuffers = true;
  /** The client has gone or was displaced: what it left is stored only where nobody is in the way. */
  isLeaving = false;
  /** Of an append that is not exact: what came in order before this offset is passed over. */
  skipsTo = 0;
  /** What was durable before this offset when it came, by others or out of order, is passed over where it can't be compared. */
  passesTo = 0;
  /** Some of its bytes were new. */
  hasCommitted = false;
  /** An append writer's last commit has been made. */
  hasEndedTerm = false;
  /** As the records told it last. */
  upload: PlannedUpload;
  /** Its first lease was given. */
  #hasEntered = false;
  /** Where the durable bytes end that others had stored behind its own. */
  #othersEnd = 0;

  constructor(
    deps: Deps,
    input: Pick<
      RangeWrite,
      | 'principal'
      | 'upload'
      | 'isAppend'
      | 'isExact'
      | 'completes'
      | 'writerId'
      | 'totalBytes'
      | 'chain'
      | 'stated'
      | 'whole'
      | 'bodyStart'
      | 'bodyEnd'
      | 'checkpoint'
      | 'onOffset'
    >,
  ) {
    this.deps = deps;
    this.principal = input.principal;
    this.upload = input.upload;
    this.isAppend = input.isAppend;
    this.isExact = input.isExact;
    this.completes = input.completes;
    this.writerId = input.writerId;
    this.totalBytes = input.totalBytes;
    this.chain = input.chain;
    this.stated = input.stated;
    this.pieces = new Pieces({ wait: input.stated !== undefined });
    this.whole = input.whole;
    this.bodyStart = input.bodyStart;
    this.bodyEnd = input.bodyEnd;
    this.checkpoint = input.checkpoint;
    this.onOffset = input.onOffset;
  }

  /** The slot of an offset, cut at the upload's size where that is known. */
  slotAt(offset: number): Slot {
    const { layout, sizeBytes } = this.upload;
    const size = sizeBytes ?? this.totalBytes;
    const slot = rangeOf(layout, slotOf(layout, offset), size);
    if (slot === undefined || slot.partNumber > this.deps.store.limits.maxParts) throw sizeError(this.upload, offset);
    return slot;
  }

  /** Where the body has to end, as far as that is known. */
  get wantedEnd(): number | undefined {
    return this.bodyEnd ?? this.upload.sizeBytes ?? this.totalBytes;
  }

  seen(upload: Upload): PlannedUpload {
    if (upload.layout.kind !== 'planned') throw new Error(`upload ${upload.id} lost its layout`);
    // Answers of the records may overtake each other.
    if (upload.state !== this.upload.state || upload.receivedBytes >= this.upload.receivedBytes) {
      this.upload = { ...upload, layout: upload.layout };
    }
    return this.upload;
  }

  /**
   * Leases a range. Who is in the way is waited for, and asked to give way where it is older.
   * @throws UploadError
   */
  async lease<T extends Begun>(slot: Slot, range: ByteSpan, { begin, drop, tooLate }: Leasing<T>): Promise<Leased<T>> {
    const { deps, upload, principal } = this;
    const { clock, settings } = deps;
    const startedMs = clock.now().getTime();
    let asked: string | undefined;
    let pollMs = firstPollMs;
    for (;;) {
      // Who leaves may commit what it holds, if nobody has taken over yet.
      if (!this.isLeaving || !this.#hasEntered) this.#writerSignal?.throwIfAborted();
      const attemptId = deps.newLeaseId();
      const heldUntilMs = clock.now().getTime() + settings.leaseMs;
      const begun = await begin({
        uploadId: upload.id,
        tenant: principal.tenant,
        slot,
        basePartSizeBytes: upload.layout.partSizeBytes,
        ...range,
        attemptId,
        leaseMs: settings.leaseMs,
        totalBytes: this.totalBytes,
        writerId: this.writerId,
      }).catch((error: unknown) => {
        deps.leftLeases.leave(() => drop(attemptId));
        throw error;
      });
      if (!isRefusal(begun)) {
        requireSeen(principal, begun.upload);
        this.seen(begun.upload);
        const isOutdated = this.isExact && begun.upload.offset > Math.max(range.from, this.#othersEnd);
        const isFirst = !this.#hasEntered;
        if (isFirst && this.#writerSignal?.aborted) {
          // Whoever ended it could not see it on record, and may have told the offset since.
          await deps.leftLeases.giveBack(() => drop(attemptId));
          throw this.#writerSignal.reason;
        }
        if (isFirst && this.isAppend && !this.isExact) this.#passOver(begun.upload);
        this.#hasEntered = true;
        if (!isOutdated) return { ...begun, attemptId, heldUntilMs };
        await deps.leftLeases.giveBack(() => drop(attemptId));
        // Its own pieces count in their order: what is behind this one came from another writer.
        throw isFirst ? gapError(begun.upload, range.from) : new DisplacedError();
      }
      if (begun.kind !== 'occupied') throw refusalError(begun, range);
      if (this.isLeaving || this.#writerSignal?.aborted) throw busyError('these bytes', begun.retryAfterMs);
      const waitedMs = clock.now().getTime() - startedMs;
      const { holder } = begun;
      if (holder.isWriter && this.isExact) {
        if (this.#hasEntered) throw new DisplacedError();
        // Nobody is displaced for an offset that is wrong; for one that is right what the older writer holds does not count.
        if (begun.upload.offset > range.from) throw gapError(begun.upload, range.from);
        await this.#askToYield(holder);
      }
      if (holder.isWriter && (this.isExact || waitedMs > displaceAfterMs)) {
        await deps.records.endWriter({ uploadId: upload.id, writerId: holder.id });
        continue;
      }
      if (tooLate !== undefined && waitedMs > displaceAfterMs) throw new DisplacedError();
      // Of a process that is not known to be gone: nobody gives it way before it runs out.
      if (waitedMs > settings.leaseMs + 1000) throw busyError('these bytes', begun.retryAfterMs);
      if (holder.id !== asked) await this.#askToYield(holder, tooLate);
      asked = holder.id;
      if (deps.attempts.find(holder.id) === undefined && (await deps.records.endDeadLeases(upload.id))) continue;
      await clock.sleep(pollMs, deps.halted);
      pollMs = Math.min(pollMs * 2, slowestPollMs);
    }
  }

  /** Makes an append writer known that does not know yet where its first piece ends. @throws UploadError */
  async enter(slot: Slot, at: number): Promise<void> {
    const entered = await this.leasePart(slot, { from: at, to: at + 1 });
    if (entered.kind !== 'not_whole') await this.#dropUnused(slot, entered.attemptId);
  }

  /** Leases a slot for its part: `not_whole` where the range is not all of it, or some of it is durable. @throws UploadError */
  leasePart(slot: Slot, range: ByteSpan): Promise<Leased<Begun>> {
    return this.lease(slot, range, {
      begin: (wanted) => this.deps.records.beginRangePart(wanted),
      drop: (attemptId) => this.#dropUnused(slot, attemptId),
    });
  }

  /** Gives a slot back of which nothing was sent. */
  #dropUnused(slot: Slot, attemptId: string): Promise<void> {
    return this.deps.records.dropAttempt({ ...this.addressOf(slot, attemptId), uncertain: false });
  }

  addressOf({ partNumber }: Pick<Slot, 'partNumber'>, attemptId: string): AttemptAddress {
    return { uploadId: this.upload.id, partNumber, attemptId };
  }

  /** The body is whole: what waits for that counts. @throws UploadError `digest_mismatch`, … */
  async settle(): Promise<void> {
    await this.verify();
    await this.pieces.count();
  }

  /** Shown all bytes of the body in their order. */
  see(chunk: Buffer): void {
    this.stated?.see(chunk);
    this.whole?.see(chunk);
  }

  /** Once all of the body was seen. @throws UploadError `digest_mismatch` */
  async verify(): Promise<void> {
    await this.stated?.verify();
    await this.whole?.verify();
  }

  /** Records a part that is stored. @throws what speaks against it */
  async commitPart(
    attemptId: string,
    stored: StoredPart | undefined,
    chain: DigestChainState | undefined,
  ): Promise<void> {
    if (stored === undefined) throw new Error(`upload ${this.upload.id}: a part counts before it is stored`);
    const { id: uploadId } = this.upload;
    const { slot, etag, digests, runs } = stored;
    const committed = await this.deps.records.commitRangePart({
      uploadId,
      attemptId,
      part: { ...slot, etag, digests },
      // An append's own bytes are never held against these.
      runs: this.isAppend || runs.length < 2 ? undefined : runs,
      ...this.termUntil(slot.offset + slot.sizeBytes),
      chain,
    });
    if (committed.kind !== 'committed') throw await this.refused(committed.kind);
    this.committed(committed.upload, slot.offset + slot.sizeBytes);
    const { partNumber, sizeBytes } = slot;
    this.deps.events.emit({ type: 'part_stored', uploadId, partNumber, sizeBytes });
  }

  /** With the commit of the body's last piece the writer's term ends. */
  termUntil(end: number): { readonly writerId: string | undefined; readonly endsWriter: boolean } {
    return { writerId: this.writerId, endsWriter: this.isAppend && end === this.bodyEnd };
  }

  committed(upload: Upload, end: number): PlannedUpload {
    if (this.termUntil(end).endsWriter) this.hasEndedTerm = true;
    this.hasCommitted = true;
    if (upload.offset > end) this.#othersEnd = upload.offset;
    this.onOffset?.(upload.offset);
    return this.seen(upload);
  }

  /** What a client is told whose writer lost its place. */
  async explain(cause: DisplacedError): Promise<Error> {
    const reason = await this.refused('displaced');
    if (!(reason instanceof DisplacedError)) return reason;
    return new UploadError('busy', 'A newer request has taken over. Ask for the offset before you go on.', {
      retryAfterSeconds: 1,
      cause,
    });
  }

  /** What speaks against a commit. */
  async refused(kind: 'displaced' | 'size_conflict' | 'not_open'): Promise<Error> {
    if (kind === 'size_conflict') return sizeError(this.upload, this.upload.offset);
    const now = await this.deps.records.find(this.upload.tenant, this.upload.id);
    if (now === undefined) return notFoundError();
    if (now.state === 'open') return new DisplacedError();
    // The body was read, so it can't be held against what is stored: the next try is.
    return now.state === 'completed' || now.state === 'completing' ? endedError() : notOpen(now);
  }

  #passOver({ offset, digestChain }: Upload): void {
    this.passesTo = offset;
    // Its own bytes reach as far as the hash that is carried along with them.
    this.skipsTo = Math.min(offset, digestChain?.endsAt ?? 0);
  }

  get #writerSignal(): AbortSignal | undefined {
    return this.writerId === undefined ? undefined : this.deps.attempts.find(this.writerId)?.signal;
  }

  async #askToYield(
    holder: { readonly id: string; readonly isWriter: boolean; readonly partNumber: number },
    tooLate?: LiveAttempt,
  ) {
    const { attempts, records } = this.deps;
    const here = attempts.find(holder.id);
    if (here !== undefined) {
      if (tooLate === undefined || here.isOlderThan(tooLate)) here.yield();
      return;
    }
    if (holder.isWriter) return records.askWriterToYield(holder.id);
    const attempt = this.addressOf(holder, holder.id);
    if (tooLate === undefined) await records.askToYield(attempt);
    else await records.askOlderToYield({ ...attempt, ageMs: tooLate.ageMs });
  }
}

function isRefusal(begun: { readonly kind: string }): begun is RangeRefusal {
  return begun.kind !== 'begun' && begun.kind !== 'not_whole';
}
