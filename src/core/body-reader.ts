import type { Readable } from 'node:stream';
import type { Deps } from './deps.ts';
import { ClientGoneError, UploadError } from './errors.ts';
import type { MemoryBudget } from './memory-budget.ts';

/** A body that ended in good order, but has not the length of its range. */
export function lengthError(which: 'more' | 'fewer'): UploadError {
  return new UploadError('invalid_request', `The body has ${which} bytes than its range.`);
}

/** What waits here unread at most; more stays in the socket. */
const queuedBytes = 128 * 1024;
/** What comes meanwhile, where the budget has room for it: a client's usual chunk. */
const queuedAheadBytes = 1024 * 1024;

/** A request's body, to be taken in pieces by whoever stores them. It flows only while somebody takes. */
export class BodyReader {
  readonly #body: Readable;
  readonly #queue: Buffer[] = [];
  readonly #stopWatching: () => void;
  #queued = 0;
  /** As many of those are counted by the budget. */
  #counted = 0;
  #isAhead = false;
  #hasEnded = false;
  #failure: unknown;
  #wake: (() => void) | undefined;
  /** Takes what comes, unless it is too much. */
  #direct: ((chunk: Buffer) => boolean) | undefined;
  #seenBytes = 0;
  #takenBytes = 0;
  #isInterrupted = false;
  readonly #memory: MemoryBudget;
  readonly #witness: { see(chunk: Buffer): void } | undefined;
  /** Told at once of what ends the body, also while nobody takes. */
  onFail: (() => void) | undefined;

  /** @param witness sees all bytes in their order, as they are taken */
  constructor(
    deps: Pick<Deps, 'clock' | 'settings' | 'memory'>,
    body: Readable,
    witness?: { see(chunk: Buffer): void },
  ) {
    this.#body = body;
    this.#memory = deps.memory;
    this.#witness = witness;
    this.#stopWatching = this.#watchForStall(deps);
    body.on('data', this.#onData);
    body.on('end', this.#onEnd);
    body.on('error', this.#onError);
    body.on('close', this.#onClose);
    if (body.readableEnded) this.#onEnd();
    else if (body.errored) this.#onError(body.errored);
    else if (body.destroyed) this.#onClose();
  }

  /** The body has ended, and all of it has been taken. */
  get isDrained(): boolean {
    return this.#hasEnded && this.#queue.length === 0;
  }

  /** How much of the body has been taken. */
  get takenBytes(): number {
    return this.#takenBytes;
  }

  /** Lets bytes come while something else is waited for. */
  async meanwhile<T>(work: Promise<T>): Promise<T> {
    this.#isAhead = true;
    this.#body.resume();
    return work.finally(() => {
      this.#isAhead = false;
      if (this.#queued >= queuedBytes) this.#body.pause();
    });
  }

  /** The next bytes, `max` at most, where they are here already: a promise for each buffer would cost too much. */
  takeNow(max: number): Buffer | undefined {
    const chunk = this.#queue[0];
    return chunk && this.#cut(chunk, max);
  }

  /** The next bytes, `max` at most; `undefined` at the body's end. @throws ClientGoneError, UploadError, the reason of `fail` */
  async take(max: number): Promise<Buffer | undefined> {
    return (await this.isAtEnd()) ? undefined : this.takeNow(max);
  }

  /**
   * Hands the next bytes on as they come: cheaper than to wait for each buffer.
   * @param hand takes a buffer; `false`: no more for now
   * @returns how many were handed on; fewer than `bytes` where `hand` wanted no more, at an interruption, or at the
   *   body's end
   * @throws as `take`
   */
  async flow(bytes: number, hand: (chunk: Buffer) => boolean): Promise<number> {
    let left = bytes;
    let isWanted = true;
    this.#isInterrupted = false;
    const pass = (chunk: Buffer) => {
      left -= chunk.length;
      isWanted = hand(chunk) && left > 0;
    };
    while (isWanted && left > 0) {
      const chunk = this.takeNow(left);
      if (chunk !== undefined) {
        pass(chunk);
        continue;
      }
      if (this.#failure !== undefined) throw this.#failure;
      if (this.#hasEnded || this.#isInterrupted) break;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        this.#direct = (next) => {
          if (next.length > left) return false;
          this.#takenBytes += next.length;
          this.#witness?.see(next);
          pass(next);
          if (!isWanted) {
            this.#body.pause();
            this.#tell();
          }
          return true;
        };
        this.#body.resume();
      });
    }
    return bytes - left;
  }

  /** Shows the next bytes, and keeps none of them. @throws UploadError `invalid_request` where there are fewer; as `take` */
  async pass(bytes: number, see: (chunk: Buffer) => void): Promise<void> {
    for (let left = bytes; left > 0; ) {
      const chunk = this.takeNow(left) ?? (await this.take(left));
      if (chunk === undefined) throw lengthError('fewer');
      see(chunk);
      left -= chunk.length;
    }
  }

  /** Passes over the rest. @throws as `take` */
  async drain(): Promise<void> {
    while ((await this.take(Number.POSITIVE_INFINITY)) !== undefined);
  }

  /** Whether the body has been taken to its end. Waits for the end, or for more. @throws as `take` */
  async isAtEnd(): Promise<boolean> {
    while (this.#queue.length === 0 && !this.#hasEnded) await this.#more();
    return this.#queue.length === 0;
  }

  /** As `isAtEnd`, but an interruption ends the wait: then the end is not known to follow. */
  async isEndNext(): Promise<boolean> {
    await this.#next();
    return this.isDrained;
  }

  /** Whether bytes follow. An interruption ends the wait; one that neither ends nor goes on is not waited for. */
  async hasMore(): Promise<boolean> {
    try {
      await this.#next();
    } catch {
      return false;
    }
    return this.#queue.length > 0;
  }

  /** Whoever takes gets this reason, once what came before is taken. */
  fail(reason: unknown): void {
    this.#failure ??= reason;
    this.#tell();
    this.onFail?.();
  }

  /** Ends the wait of `flow` for more, once. */
  interrupt(): void {
    this.#isInterrupted = true;
    this.#tell();
  }

  end(): void {
    this.#stopWatching();
    this.#body.off('data', this.#onData);
    this.#body.off('end', this.#onEnd);
    this.#body.off('close', this.#onClose);
    this.#body.pause();
    this.#queue.length = 0;
    this.#uncount(this.#counted);
  }

  /** Waits for bytes, for the end, or for an interruption. */
  async #next(): Promise<void> {
    this.#isInterrupted = false;
    while (this.#queue.length === 0 && !this.#hasEnded && !this.#isInterrupted) await this.#more();
  }

  async #more(): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    this.#body.resume();
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
  }

  #cut(chunk: Buffer, max: number): Buffer {
    const taken = chunk.length <= max ? chunk : chunk.subarray(0, max);
    if (taken === chunk) this.#queue.shift();
    else this.#queue[0] = chunk.subarray(max);
    this.#queued -= taken.length;
    this.#uncount(Math.min(this.#counted, taken.length));
    this.#takenBytes += taken.length;
    this.#witness?.see(taken);
    return taken;
  }

  #uncount(bytes: number): void {
    this.#counted -= bytes;
    this.#memory.give(bytes);
  }

  readonly #onData = (chunk: Buffer): void => {
    if (chunk.length === 0) return;
    this.#seenBytes += chunk.length;
    if (this.#direct?.(chunk)) return;
    this.#queue.push(chunk);
    this.#queued += chunk.length;
    if (this.#queued >= queuedBytes && !this.#mayGoAhead(chunk.length)) this.#body.pause();
    this.#tell();
  };

  #mayGoAhead(bytes: number): boolean {
    const { isTight } = this.#memory;
    if (!this.#isAhead || this.#queued >= queuedAheadBytes || isTight || !this.#memory.take(bytes)) return false;
    this.#counted += bytes;
    return true;
  }

  readonly #onEnd = (): void => {
    this.#hasEnded = true;
    this.#tell();
  };

  /** A body that a front takes out of an envelope says itself what is wrong with it. */
  readonly #onError = (cause: unknown): void =>
    this.fail(cause instanceof UploadError ? cause : new ClientGoneError('the body broke off', { cause }));

  readonly #onClose = (): void => {
    if (!this.#hasEnded) this.fail(new ClientGoneError('the client closed its connection in the body'));
  };

  #tell(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    this.#direct = undefined;
    wake?.();
  }

  /** A client that sends nothing while somebody waits for it is given up; what came is kept. */
  #watchForStall({ clock, settings: { bodyIdleMs } }: Pick<Deps, 'clock' | 'settings'>): () => void {
    const steps = 4;
    let seen = -1;
    let quietSteps = 0;
    return clock.every(bodyIdleMs / steps, () => {
      quietSteps = this.#wake !== undefined && this.#seenBytes === seen ? quietSteps + 1 : 0;
      seen = this.#seenBytes;
      if (quietSteps < steps) return;
      this.fail(
        new UploadError('body_timeout', `No byte came for ${bodyIdleMs / 1000} seconds. Go on from the offset.`),
      );
    });
  }
}
