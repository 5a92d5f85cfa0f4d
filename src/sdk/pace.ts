import { interruptible } from './wait.ts';

const smallestPieceBytes = 4 * 1024;
const largestPieceBytes = 256 * 1024;

/** Lets so many bytes a second through, of all requests together. */
export class Throttle {
  readonly #bytesPerMs: number | undefined;
  #freeAtMs = 0;

  constructor(bytesPerSecond: number | undefined) {
    this.#bytesPerMs = bytesPerSecond === undefined ? undefined : bytesPerSecond / 1000;
  }

  get isLimiting(): boolean {
    return this.#bytesPerMs !== undefined;
  }

  /** Small enough that whoever waits for the next piece does not take the line for dead. */
  get pieceBytes(): number {
    const quarter = (this.#bytesPerMs ?? Number.POSITIVE_INFINITY) * 250;
    return Math.max(smallestPieceBytes, Math.min(largestPieceBytes, Math.floor(quarter)));
  }

  /** Resolves when these bytes may leave. */
  async take(bytes: number, signal: AbortSignal): Promise<void> {
    if (this.#bytesPerMs === undefined) return;
    const nowMs = performance.now();
    const dueMs = Math.max(this.#freeAtMs, nowMs);
    this.#freeAtMs = dueMs + bytes / this.#bytesPerMs;
    if (dueMs > nowMs) await interruptible(dueMs - nowMs, signal);
  }
}

const smallestChunkBytes = 64 * 1024;
const successesToGrow = 4;

/** What one request carries: a whole part while the line holds, less after it broke, more again when it holds. */
export class ChunkSize {
  readonly #largestBytes: number;
  #bytes: number;
  #epoch = 0;
  #successes = 0;

  constructor(largestBytes: number) {
    this.#largestBytes = Math.max(smallestChunkBytes, largestBytes);
    this.#bytes = this.#largestBytes;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Tells which requests went out by the present size. */
  get epoch(): number {
    return this.#epoch;
  }

  /** Several requests that broke at once are one break. What got through, where that is known, may get through again. */
  broke(epoch: number, sentBytes: number | undefined): void {
    if (epoch !== this.#epoch) return;
    this.#set(Math.max(smallestChunkBytes, Math.min(this.#bytes / 2, sentBytes ?? Number.POSITIVE_INFINITY)));
  }

  held(): void {
    this.#successes++;
    if (this.#successes < successesToGrow || this.#bytes === this.#largestBytes) return;
    this.#set(Math.min(this.#largestBytes, this.#bytes * 2));
  }

  #set(bytes: number): void {
    this.#bytes = Math.floor(bytes);
    this.#epoch++;
    this.#successes = 0;
  }
}

/** How many requests are under way at once: as many as may be, half as many after trouble, one more after each round without. */
export class Parallelism {
  #most: number;
  #now: number;
  #successes = 0;

  constructor(most: number) {
    this.#most = most;
    this.#now = most;
  }

  get now(): number {
    return this.#now;
  }

  limitTo(most: number): void {
    if (this.#now === this.#most || this.#now > most) this.#now = most;
    this.#most = most;
  }

  trouble(): void {
    this.#now = Math.max(1, Math.floor(this.#now / 2));
    this.#successes = 0;
  }

  held(): void {
    this.#successes++;
    if (this.#successes < this.#now || this.#now === this.#most) return;
    this.#now++;
    this.#successes = 0;
  }
}
