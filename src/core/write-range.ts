import type { Readable } from 'node:stream';
import { announceWriter } from './announce-writer.ts';
import { BodyReader } from './body-reader.ts';
import { collect } from './collect.ts';
import { compareBody, compareWithCompleted } from './compare-completed.ts';
import { isDiffering } from './compare-runs.ts';
import { completeWhole } from './complete-whole.ts';
import { decideLayout, requirePlanned } from './decide-layout.ts';
import type { Deps } from './deps.ts';
import type { Digests } from './digest.ts';
import { UploadError } from './errors.ts';
import { requireOpen, requireThere } from './find.ts';
import { isToComplete } from './is-whole.ts';
import { keepWhatCame } from './keep-what-came.ts';
import { carriesMd5 } from './kept-digests.ts';
import type { Slot } from './layout.ts';
import { requireSize } from './limits.ts';
import { DisplacedError, type LiveAttempt } from './live-attempts.ts';
import type { Principal } from './principal.ts';
import { endedError, sizeError } from './range-errors.ts';
import { RangeWrite } from './range-write.ts';
import { repeatSlot } from './repeat-slot.ts';
import { requireEnd } from './require-end.ts';
import { startMd5 } from './running-md5.ts';
import { StatedDigests, type TrailingDigests } from './stated-digests.ts';
import { streamSlot } from './stream-slot.ts';
import { tellSize } from './tell-size.ts';
import type { Upload } from './upload.ts';
import { WholeMd5 } from './whole-md5.ts';

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
   * one displaces the older; bytes below the durable offset are passed over, others are compared, a hole is refused.
   */
  readonly mode: 'anywhere' | 'append';
  /** Of an append: it must begin at the durable offset, also where it displaces a writer who has moved that meanwhile. */
  readonly isExact?: boolean | undefined;
  /** Of an append: as it was announced, where that was done before; ended when its bytes are durable, or never will be. */
  readonly writer?: LiveAttempt | undefined;
  /** The front has no call to complete: whoever brings the last byte completes. */
  readonly completes: boolean;
  /** How many bytes this client sends in each request, as far as known: the layout follows it. */
  readonly chunkSizeBytes?: number | undefined;
  /** What the client states of the body, base64: it counts as a whole if they are true, and nothing of it if not. */
  readonly digests?: Digests | TrailingDigests | undefined;
  /** Of a body that is the whole: its bytes count as they come, the last of them only if these are true. */
  readonly wholeDigests?: Digests | undefined;
  /** Of a body that is the end of the whole: the MD5 of all of it, base64; the last bytes count only if it is true. */
  readonly wholeMd5?: string | undefined;
  /** Hears how far the durable bytes reach, each time that more are. */
  readonly onOffset?: ((offset: number) => void) | undefined;
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
  const { upload, mode, sizeBytes } = input;
  const isWriter = mode === 'append' && sizeBytes !== 0;
  const writer = isWriter ? (input.writer ?? announceWriter(deps, upload.id)) : undefined;
  try {
    return await writeAs(deps, input, writer);
  } finally {
    writer?.end();
  }
}

/** @param writer of an append that brings bytes */
async function writeAs(deps: Deps, input: WriteRangeInput, writer: LiveAttempt | undefined): Promise<Upload> {
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
  const hasChain = carriesMd5(upload) && isAppend;
  const saved = hasChain ? await chainBefore(deps, upload, offset) : undefined;
  const chain = hasChain ? await startMd5(saved) : undefined;
  const writerId = writer?.attemptId;
  const stated = StatedDigests.of(input.digests);
  const write = new RangeWrite(deps, {
    principal,
    upload: planned,
    isAppend,
    isExact: input.isExact ?? false,
    completes: input.completes,
    writerId,
    totalBytes,
    chain,
    stated,
    whole:
      input.wholeMd5 === undefined
        ? StatedDigests.of(input.wholeDigests)
        : await WholeMd5.of(saved, offset, input.wholeMd5),
    bodyStart: offset,
    bodyEnd: sizeBytes === undefined ? undefined : offset + sizeBytes,
    checkpoint: stated === undefined ? writer?.checkpoint : undefined,
    onOffset: input.onOffset,
  });
  if (sizeBytes === 0) {
    await write.settle();
    return end(write);
  }
  const stopRenewing = renewTerm(deps, upload.id, writerId);
  try {
    const completed = await writeBody(write, input, writer?.signal);
    if (completed !== undefined) return completed;
    await write.settle();
    // Its client is told that these bytes are stored: from now on nobody supersedes the upload without knowing it.
    if (!isAppend && !write.hasCommitted && !(await deps.records.touch(upload.id))) await requireThere(deps, upload);
  } catch (error) {
    throw error instanceof DisplacedError ? await write.explain(error) : error;
  } finally {
    await write.pieces.drop();
    writer?.end();
    stopRenewing();
    if (writerId !== undefined && !write.hasEndedTerm) {
      await deps.leftLeases.giveBack(() => deps.records.endWriter({ uploadId: upload.id, writerId }));
    }
  }
  return end(write);
}

/** The MD5 of the bytes before an offset: another gateway may have stored more of them since. */
async function chainBefore({ records }: Deps, seen: Upload, offset: number): Promise<Upload['digestChain']> {
  if ((seen.digestChain?.endsAt ?? 0) >= offset) return seen.digestChain;
  return (await records.find(seen.tenant, seen.id))?.digestChain;
}

/** An append may take longer for one piece than its term. */
function renewTerm(deps: Deps, uploadId: string, writerId: string | undefined): () => void {
  if (writerId === undefined) return () => undefined;
  const { leaseMs } = deps.settings;
  return deps.renewals.add(() => {
    deps.records.renewWriter({ uploadId, writerId, leaseMs }).catch(() => undefined);
  });
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
  let at = input.offset;
  /** All before it is durable. */
  let savedTo = at;
  const read = () => {
    if (reader !== undefined) return reader;
    const opened = openReader(write, input, displaced);
    write.checkpoint?.serve(
      () => opened.takenBytes > savedTo - input.offset,
      () => opened.interrupt(),
    );
    reader = opened;
    return opened;
  };
  /** Slots whose last byte is on its way while the next one is read. */
  const underWay = new Set<Promise<number>>();
  /** The slot that is read. */
  let latest: Promise<number> | undefined;
  const saveAll = async () => {
    await Promise.all(underWay);
    underWay.clear();
    savedTo = at;
  };
  const goesOn = async () => {
    if (write.checkpoint?.isDue) {
      await saveAll();
      write.checkpoint.reached();
    }
    return bodyEnd === undefined ? !(await read().isAtEnd()) : at < bodyEnd;
  };
  const { bodyEnd } = write;
  try {
    while (await goesOn()) {
      requireSize(at + 1, write.deps.settings);
      if (at === (write.upload.sizeBytes ?? write.totalBytes)) throw sizeError(write.upload, at + 1);
      const slot = write.slotAt(at);
      const streamed = isStreamed(write, slot, at, bodyEnd)
        ? await streamSlot(write, slot, read, Promise.all(underWay))
        : undefined;
      if (streamed !== undefined) {
        const stored = keepWhatCame(write, slot, streamed, Promise.all(underWay));
        stored.catch(() => undefined);
        latest = stored;
        const cameBytes = await streamed.received.then(
          () => slot.sizeBytes,
          () => stored,
        );
        await saveAll();
        underWay.add(stored);
        at = slot.offset + cameBytes;
        continue;
      }
      await saveAll();
      if (write.isAppend && bodyEnd === undefined && at === input.offset) await write.enter(slot, at);
      const repeated = coversSlot(slot, at, bodyEnd) ? await repeatSlot(write, slot, read()) : false;
      at += repeated
        ? slot.sizeBytes
        : await collect(write, read(), { slot, at, endsUpload: input.endsUpload === true });
    }
    await saveAll();
    if (bodyEnd !== undefined) await requireEnd(write, read());
    if (input.endsUpload) write.totalBytes ??= at;
  } catch (error) {
    // Nothing is left behind that could still be stored when this request has been answered.
    const settled = await Promise.allSettled([...underWay, latest]);
    if (isDiffering(error)) {
      await write.stated?.verifyToEnd(read());
      await write.deps.records.markConflicted(write.upload.id);
      throw conflictedError(error, write.upload);
    }
    if (!isEnding(error) || write.isAppend) throw error;
    // What was read can't be compared any more: the next try is.
    if ((reader?.takenBytes ?? 0) !== at - input.offset) throw endedError();
    for (const each of settled) if (each.status === 'rejected') throw each.reason;
    // All of it became durable meanwhile: this request gets the same answer as the one that completed it.
    const { deps, principal } = write;
    const completed = await completeWhole(deps, { principal, upload: write.upload });
    await compareBody(deps, completed, read(), { at, end: bodyEnd });
    await write.stated?.verify();
    return completed;
  } finally {
    reader?.end();
  }
  return undefined;
}

function conflictedError(error: UploadError, { id }: Upload): UploadError {
  const message = `${error.message} The upload completes no longer by itself: complete it as it is, or abort it.`;
  return new UploadError(error.code, message, { details: { ...error.details, uploadId: id }, cause: error });
}

/** The upload took no more bytes when the next ones were to be leased. */
function isEnding(error: unknown): boolean {
  const state = error instanceof UploadError ? error.details.uploadState : undefined;
  return state === 'completing' || state === 'completed';
}

function openReader(write: RangeWrite, input: WriteRangeInput, displaced: AbortSignal | undefined): BodyReader {
  const reader = new BodyReader(write.deps, input.body(), write);
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
