import { PartwayClient } from './client.ts';
import { completeUpload, requireDigest, wholeDigest } from './complete-upload.ts';
import type { UploadJson } from './contract.ts';
import {
  AbortedError,
  InterruptedError,
  isNoUploadError,
  isPartwayError,
  isRefusedError,
  RefusedError,
  UsageError,
} from './errors.ts';
import type { Hashes } from './hashes.ts';
import { missingSlots } from './missing-slots.ts';
import { dropEarlier, forget, type Opening, openUpload, settle, type Unheard } from './open-upload.ts';
import type { UploadMode, UploadOptions, UploadProgress, UploadResult, UploadTask } from './options.ts';
import { ChunkSize, Parallelism, Throttle } from './pace.ts';
import { Progress } from './progress.ts';
import { relaySlot } from './relay.ts';
import { Patience } from './retrying.ts';
import { Roads } from './roads.ts';
import type { SeekableSource, Source, StreamSource } from './sources/source.ts';
import { streamSlots } from './stream-slots.ts';
import { sendAll, type Transfer } from './transfer.ts';
import type { Transport } from './transport/transport.ts';
import { Gate } from './wait.ts';

const usualParallel = 4;
const usualGiveUpMs = 900_000;
const usualWindowBytes = 64 * 1024 ** 2;
const mostRounds = 3;
const lastWordsMs = 5000;
const modes: readonly UploadMode[] = ['auto', 'direct', 'relay'];

/** What differs between Node, browsers and workers. */
export interface Platform {
  readonly transport: Transport;
  readonly hashes: Hashes;
  open(source: unknown): Promise<Source>;
}

/** Begins at once. */
export class RunningUpload implements UploadTask {
  readonly finished: Promise<UploadResult>;
  readonly #platform: Platform;
  readonly #options: UploadOptions;
  readonly #client: PartwayClient;
  readonly #progress: Progress;
  readonly #gate = new Gate();
  readonly #stop = new AbortController();
  #uploadId: string | undefined;
  #source: Source | undefined;
  #mode: 'relay' | 'direct' = 'relay';
  #isOver = false;
  readonly #unheard: Unheard = {};

  /** @throws UsageError */
  constructor(platform: Platform, source: unknown, options: UploadOptions) {
    requireOptions(options);
    this.#platform = platform;
    this.#options = options;
    this.#client = new PartwayClient(options, platform.transport);
    this.#progress = new Progress(options.onProgress);
    this.finished = this.#upload(source);
    // Whoever only calls abort() need not look at it.
    this.finished.catch(() => {});
  }

  get progress(): UploadProgress {
    return this.#progress.now;
  }

  get uploadId(): string | undefined {
    return this.#uploadId;
  }

  pause(): void {
    const { phase } = this.#progress;
    if (this.#isOver || (phase !== 'opening' && phase !== 'sending')) return;
    this.#gate.close();
    this.#progress.enter('paused');
  }

  resume(): void {
    if (this.#isOver || !this.#gate.isClosed) return;
    this.#gate.open();
    this.#progress.enter(this.#uploadId === undefined ? 'opening' : 'sending');
  }

  async abort(): Promise<void> {
    const wasOver = this.#isOver;
    this.#stop.abort(new AbortedError());
    const isCompleted = await this.finished.then(
      () => true,
      () => false,
    );
    if (wasOver && !isCompleted && this.#uploadId !== undefined) await this.#drop();
  }

  async #upload(given: unknown): Promise<UploadResult> {
    const { signal } = this.#options;
    const interrupt = () => this.#stop.abort(new InterruptedError({ cause: signal?.reason }));
    if (signal?.aborted === true) interrupt();
    signal?.addEventListener('abort', interrupt, { once: true });
    try {
      const source = await this.#platform.open(given);
      this.#source = source.kind === 'stream' ? { ...source, sizeBytes: this.#options.sizeBytes } : source;
      return await this.#send(this.#source);
    } catch (error) {
      const completed = await this.#giveUp(error);
      if (completed === undefined) throw error;
      return completed;
    } finally {
      this.#isOver = true;
      signal?.removeEventListener('abort', interrupt);
      this.#progress.close();
      if (this.#source?.kind === 'seekable') await this.#source.close();
    }
  }

  async #send(source: Source): Promise<UploadResult> {
    if (source.kind === 'stream' && this.#options.uploadId !== undefined) {
      throw new UsageError('What comes once can go on with no upload: its first bytes are gone.');
    }
    if (this.#options.restart === true) await this.#within((opening) => dropEarlier(opening), source);
    try {
      return await this.#within((opening, stop) => this.#attempt(opening, stop), source);
    } catch (error) {
      if (!isNoUploadError(error) || this.#options.uploadId !== undefined || source.kind === 'stream') throw error;
      this.#options.onEvent?.({ type: 'restart', reason: error.message });
    }
    return this.#within(async (opening, stop) => {
      await forget(opening);
      return this.#attempt(opening, stop);
    }, source);
  }

  /** Work that ends as a whole, by its first failure or from outside. */
  async #within<T>(work: (opening: Opening, stop: AbortController) => Promise<T>, source: Source): Promise<T> {
    const stop = new AbortController();
    const end = () => stop.abort(this.#stop.signal.reason);
    if (this.#stop.signal.aborted) end();
    this.#stop.signal.addEventListener('abort', end, { once: true });
    const { giveUpAfterMs = usualGiveUpMs, onEvent } = this.#options;
    const patience = new Patience(giveUpAfterMs, stop.signal, (event) => {
      this.#progress.retries++;
      onEvent?.(event);
    });
    try {
      return await work(
        {
          client: this.#client,
          options: this.#options,
          source,
          hashes: this.#platform.hashes,
          patience,
          signal: stop.signal,
          unheard: this.#unheard,
        },
        stop,
      );
    } finally {
      this.#stop.signal.removeEventListener('abort', end);
      stop.abort(new AbortedError());
    }
  }

  async #attempt(opening: Opening, stop: AbortController): Promise<UploadResult> {
    const { source, options } = opening;
    await this.#gate.pass(opening.signal);
    const { upload, isResumed } = await openUpload(opening);
    this.#uploadId = upload.id;
    this.#progress.beginAnew();
    const resumedBytes = isResumed ? upload.receivedBytes : 0;
    options.onEvent?.({ type: 'start', upload, resumedBytes });
    if (upload.state === 'completed') return this.#completed(opening, upload, undefined);
    const transfer = this.#transferOf(opening, upload, stop);
    this.#enterSending();
    return source.kind === 'seekable'
      ? this.#sendSeekable(opening, transfer, source)
      : this.#sendStream(opening, transfer, source);
  }

  async #sendSeekable(opening: Opening, transfer: Transfer, source: SeekableSource): Promise<UploadResult> {
    const roads = new Roads(transfer, this.#modeFor(transfer.upload));
    for (let round = 1; round <= mostRounds; round++) {
      // Of an id alone nothing else tells that its parts came from this source.
      const holdsParts = round === 1 && this.#options.uploadId !== undefined;
      let slots = await missingSlots(transfer, source, { holdsParts });
      const [first] = slots;
      if (first !== undefined && (await roads.try(first))) slots = slots.slice(1);
      await sendAll(transfer, slots, (slot) => roads.send(slot));
      await roads.end();
      this.#mode = roads.mode;
      await source.requireUnchanged();
      const digest = wholeDigest(transfer, source.sizeBytes);
      requireDigest(this.#options.digest, digest);
      await this.#gate.pass(transfer.signal);
      const completed = await completeUpload(transfer, {
        sizeBytes: source.sizeBytes,
        digest: this.#options.digest ?? (roads.areAllRelayed ? digest : undefined),
      });
      if (completed !== undefined) return this.#completed(opening, completed, digest);
      this.#enterSending();
    }
    throw new RefusedError('The store keeps losing parts that it has taken.', { code: 'incomplete' });
  }

  async #sendStream(opening: Opening, transfer: Transfer, source: StreamSource): Promise<UploadResult> {
    const { windowBytes = usualWindowBytes, parallel = usualParallel } = this.#options;
    transfer.emit({ type: 'mode', mode: 'relay' });
    await sendAll(transfer, streamSlots(transfer, source, { windowBytes, parallel }), async ({ slot, free }) => {
      await relaySlot(transfer, slot);
      free();
    });
    const sizeBytes = this.#progress.storedBytes;
    const digest = wholeDigest(transfer, sizeBytes);
    requireDigest(this.#options.digest, digest);
    await this.#gate.pass(transfer.signal);
    const completed = await completeUpload(transfer, { sizeBytes, digest: this.#options.digest ?? digest });
    if (completed !== undefined) return this.#completed(opening, completed, digest);
    throw new RefusedError('The store has lost parts that it had taken, and the source has gone on.', {
      code: 'incomplete',
    });
  }

  #transferOf({ client, patience, source }: Opening, upload: UploadJson, stop: AbortController): Transfer {
    const { parallel = usualParallel, limitBytesPerSecond, onEvent } = this.#options;
    return {
      client,
      upload,
      patience,
      signal: stop.signal,
      fail: (error) => stop.abort(error),
      emit: (event) => onEvent?.(event),
      progress: this.#progress,
      throttle: new Throttle(limitBytesPerSecond),
      chunk: new ChunkSize(
        Math.min(upload.partSize ?? Number.POSITIVE_INFINITY, source.sizeBytes ?? Number.POSITIVE_INFINITY),
      ),
      parallelism: new Parallelism(parallel),
      gate: this.#gate,
      hashes: this.#platform.hashes,
      crcs: new Map(),
    };
  }

  /** A part alone gains nothing by a way of its own; a digest of the whole is checked for what passes the gateway only. */
  #modeFor({ partCount = 0, digest, signedChecksum }: UploadJson): UploadMode {
    const { mode = 'auto' } = this.#options;
    const isRelayed =
      signedChecksum === undefined || partCount < 2 || digest !== undefined || this.#options.digest !== undefined;
    return mode === 'auto' && isRelayed ? 'relay' : mode;
  }

  async #completed(opening: Opening, upload: UploadJson, digest: string | undefined): Promise<UploadResult> {
    // The object is there, whatever becomes of what was remembered: a later call finds the upload completed.
    await settle({ ...opening, signal: AbortSignal.timeout(lastWordsMs) }).catch(() => {});
    return this.#resultOf(upload, digest);
  }

  #resultOf(upload: UploadJson, digest: string | undefined): UploadResult {
    this.#progress.enter('completed');
    return {
      upload,
      digest,
      mode: this.#mode,
      resumedBytes: this.#progress.resumedBytes,
      sentBytes: this.#progress.sentBytes,
      sizeBytes: upload.size ?? 0,
    };
  }

  #enterSending(): void {
    this.#progress.enter(this.#gate.isClosed ? 'paused' : 'sending');
  }

  /**
   * An upload that is given up, or that nothing can go on with, is not left behind.
   * @returns what came of it where it was too late for that: it is completed
   */
  async #giveUp(error: unknown): Promise<UploadResult | undefined> {
    const isOver = this.#stop.signal.reason instanceof AbortedError || this.#source?.kind === 'stream';
    if (isPartwayError(error)) error.uploadId = this.#uploadId;
    if (!isOver || (this.#uploadId === undefined && this.#unheard.create === undefined)) return undefined;
    if (isPartwayError(error)) error.isResumable = false;
    const completed = await this.#drop();
    return completed && this.#resultOf(completed, undefined);
  }

  /** @returns the upload where it is completed */
  async #drop(): Promise<UploadJson | undefined> {
    const completed = await this.#abort();
    const source = this.#source;
    if (source !== undefined) {
      const signal = AbortSignal.timeout(lastWordsMs);
      await this.#within((opening) => forget({ ...opening, signal }), source).catch(() => {});
    }
    return completed;
  }

  /** @returns the upload where it is completed */
  async #abort(): Promise<UploadJson | undefined> {
    const signal = AbortSignal.timeout(lastWordsMs);
    const patience = new Patience(lastWordsMs, signal, () => {});
    const { create } = this.#unheard;
    try {
      if (create !== undefined) this.#uploadId ??= (await patience.retry(() => create(signal))).id;
      const uploadId = this.#uploadId ?? '';
      return await patience.retry(async () => {
        try {
          await this.#client.abort(uploadId, { signal });
          return undefined;
        } catch (refusal) {
          if (!isRefusedError(refusal) || refusal.problem.uploadState !== 'completed') throw refusal;
          return this.#client.look(uploadId, { signal });
        }
      });
    } catch {
      return undefined;
    }
  }
}

/** @throws UsageError */
function requireOptions(options: UploadOptions): void {
  const { parallel = 1, windowBytes = 1, limitBytesPerSecond = 1, mode, digest } = options;
  if (mode !== undefined && !modes.includes(mode)) throw new UsageError(`mode: ${modes.join(', ')}`);
  if (!Number.isInteger(parallel) || parallel < 1 || parallel > 64) throw new UsageError('parallel: from 1 to 64');
  if (!(windowBytes > 0)) throw new UsageError('windowBytes: more than 0');
  if (!(limitBytesPerSecond > 0)) throw new UsageError('limitBytesPerSecond: more than 0');
  if (digest === undefined) return;
  if (!/^crc32=:[A-Za-z0-9+/]{6}==:$/.test(digest)) throw new UsageError('digest: a CRC-32 as in RFC 9530, crc32=:…:');
  if (mode === 'direct')
    throw new UsageError('digest: can be checked only where the bytes pass the gateway, not with direct');
}
