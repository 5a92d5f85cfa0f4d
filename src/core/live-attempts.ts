import { Checkpoint } from './checkpoints.ts';
import { UploadError } from './errors.ts';
import type { Clock } from './ports.ts';

/** A newer request has taken the slot. */
export class DisplacedError extends Error {
  override readonly name = 'DisplacedError';
}

/** One request's attempt at one part, while this process receives it. */
export class LiveAttempt {
  readonly attemptId: string;
  readonly #number: number;
  readonly #beganMs: number;
  /** Of an append writer: how it is asked to make durable what it holds. */
  readonly checkpoint = new Checkpoint();
  readonly #clock: Pick<Clock, 'now'>;
  readonly #stop = new AbortController();
  readonly #ended = Promise.withResolvers<void>();
  #heldUntilMs: number;
  #sealed = false;

  /** @param number grows with each attempt of this process */
  constructor(attemptId: string, number: number, clock: Pick<Clock, 'now'>, heldUntilMs: number) {
    this.attemptId = attemptId;
    this.#number = number;
    this.#beganMs = clock.now().getTime();
    this.#clock = clock;
    this.#heldUntilMs = heldUntilMs;
  }

  /** Aborts when the attempt must stop. */
  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  /** Resolves when the attempt has left its slot. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  get ageMs(): number {
    return this.#clock.now().getTime() - this.#beganMs;
  }

  isOlderThan(other: LiveAttempt): boolean {
    return this.#number < other.#number;
  }

  get isSealed(): boolean {
    return this.#sealed;
  }

  /** The lease holds for longer. */
  extend(heldUntilMs: number): void {
    this.#heldUntilMs = heldUntilMs;
  }

  /**
   * Before the last byte goes to the store: from here on the attempt yields to nobody.
   * @throws what it was stopped for; UploadError `records_unavailable` when its lease may have run out
   */
  seal(): void {
    this.#stop.signal.throwIfAborted();
    if (this.#clock.now().getTime() >= this.#heldUntilMs) {
      throw new UploadError('records_unavailable', 'The lease on this part could not be renewed. Send it again.', {
        retryAfterSeconds: 2,
      });
    }
    this.#sealed = true;
  }

  /** Stops, unless its last byte is on its way. */
  yield(): void {
    if (!this.#sealed) this.#stop.abort(new DisplacedError());
  }

  /** Stops whatever it is doing. */
  stop(reason: Error): void {
    this.#stop.abort(reason);
  }

  end(): void {
    this.#ended.resolve();
  }
}

/** The attempts that this process is receiving. What fences them is the lease in the records. */
export class LiveAttempts {
  readonly #attempts = new Map<string, LiveAttempt>();
  readonly #writers = new Map<string, Set<LiveAttempt>>();
  readonly #awaited = new Map<string, PromiseWithResolvers<void>>();
  readonly #clock: Pick<Clock, 'now'>;
  #begun = 0;
  #stopped: Error | undefined;

  constructor(clock: Pick<Clock, 'now'>) {
    this.#clock = clock;
  }

  /** @param heldUntilMs when the lease runs out, on this process's clock, at the earliest */
  begin(attemptId: string, heldUntilMs: number): LiveAttempt {
    const attempt = new LiveAttempt(attemptId, this.#begun++, this.#clock, heldUntilMs);
    this.#attempts.set(attemptId, attempt);
    void attempt.ended.then(() => this.#attempts.delete(attemptId));
    if (this.#stopped !== undefined) attempt.stop(this.#stopped);
    return attempt;
  }

  /** An append writer: what fences it is its term in the records. */
  beginWriter(writerId: string, uploadId: string): LiveAttempt {
    const writer = this.begin(writerId, Number.POSITIVE_INFINITY);
    const writers = this.#writers.get(uploadId) ?? new Set();
    this.#writers.set(uploadId, writers.add(writer));
    void writer.ended.then(() => {
      writers.delete(writer);
      if (writers.size === 0) this.#writers.delete(uploadId);
    });
    return writer;
  }

  /**
   * The append writers of an upload here, those among them that the records don't know of yet.
   * @param before none that came later than this one, nor this one itself
   */
  writersOf(uploadId: string, before?: LiveAttempt): readonly LiveAttempt[] {
    const writers = [...(this.#writers.get(uploadId) ?? [])];
    return before === undefined ? writers : writers.slice(0, writers.indexOf(before));
  }

  find(attemptId: string): LiveAttempt | undefined {
    return this.#attempts.get(attemptId);
  }

  yield(attemptId: string): void {
    this.#attempts.get(attemptId)?.yield();
  }

  /** A checkpoint that a writer elsewhere was asked for. Resolves with `reached`. */
  whenReached(writerId: string): Promise<void> {
    const awaited = this.#awaited.get(writerId) ?? Promise.withResolvers<void>();
    this.#awaited.set(writerId, awaited);
    return awaited.promise;
  }

  /** The writer has made its bytes durable, or is waited for no longer. */
  reached(writerId: string): void {
    this.#awaited.get(writerId)?.resolve();
    this.#awaited.delete(writerId);
  }

  /** Stops all that are live, and all that begin from now on. */
  stopAll(reason: Error): void {
    this.#stopped = reason;
    for (const attempt of this.#attempts.values()) attempt.stop(reason);
  }

  /** Resolves once every attempt that is live now has ended. */
  async whenEnded(): Promise<void> {
    await Promise.all([...this.#attempts.values()].map(({ ended }) => ended));
  }
}
