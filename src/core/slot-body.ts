import { Readable } from 'node:stream';
import { freeBuffer } from './free-buffer.ts';
import type { MemoryBudget } from './memory-budget.ts';
import { waitingBytes } from './pipe-and-tell.ts';

/** Of a slow client as much is sent at once, unless it takes longer than this: each call to the socket costs. */
const worthSendingBytes = 32 * 1024;
const sentAfterMs = 500;

/**
 * A slot's bytes on their way to the store. What has been sent is held as long as the budget allows: so it can be sent
 * again when the store breaks off, and be kept as a fragment when the client does. The last buffer is withheld until
 * `beforeLast` resolves: a store takes a part whole or not at all.
 */
export class SlotBody {
  readonly #sizeBytes: number;
  readonly #budget: MemoryBudget;
  readonly #digest: { update(chunk: Buffer): void };
  readonly #beforeLast: () => Promise<void> | void;
  /** Nobody else holds the buffers: no earlier try may still be writing them. */
  #ownsBuffers = true;
  /** Those that were handed on are dropped once they are no longer held. */
  #chunks: (Buffer | undefined)[] = [];
  #receivedBytes = 0;
  #handedChunks = 0;
  #sentChunks = 0;
  #sentBytes = 0;
  #handedBytes = 0;
  #soon: NodeJS.Immediate | undefined;
  #later: NodeJS.Timeout | undefined;
  #countedBytes = 0;
  #isHeld = true;
  #isReleased = false;
  #isLetIn = false;
  #failure: Error | undefined;
  #outlet: Outlet | undefined;
  #onRoom: (() => void) | undefined;
  readonly #stopGivingUp: () => void;

  constructor(options: {
    readonly sizeBytes: number;
    readonly budget: MemoryBudget;
    /** Sees all bytes in their order. */
    readonly digest: { update(chunk: Buffer): void };
    readonly beforeLast: () => Promise<void> | void;
  }) {
    this.#sizeBytes = options.sizeBytes;
    this.#budget = options.budget;
    this.#digest = options.digest;
    this.#beforeLast = options.beforeLast;
    this.#stopGivingUp = this.#budget.onPressure('under_way', () => this.#giveUp());
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  get receivedBytes(): number {
    return this.#receivedBytes;
  }

  /** Every byte since the first is still here. */
  get isHeld(): boolean {
    return this.#isHeld;
  }

  /** Why no more bytes will come. */
  get failure(): Error | undefined {
    return this.#failure;
  }

  write(chunk: Buffer): void {
    this.#receivedBytes += chunk.length;
    this.#digest.update(chunk);
    this.#chunks.push(chunk);
    if (this.#isHeld) this.#count(chunk.length);
    if (this.#receivedBytes === this.#sizeBytes) void this.#release();
    else this.#handSoon();
  }

  get hasRoom(): boolean {
    const waiting = this.#receivedBytes - this.#sentBytes;
    return waiting <= waitingBytes || this.#isLetIn || this.#failure !== undefined;
  }

  /** From here on there is room for all. */
  letIn(): void {
    this.#isLetIn = true;
    this.#tellRoom();
  }

  /** Resolves when the store has taken enough for more to come, or has failed. */
  async room(): Promise<void> {
    while (!this.hasRoom) {
      await new Promise<void>((resolve) => {
        this.#onRoom = resolve;
      });
    }
  }

  /** No more bytes will come: whoever reads gets this error. */
  fail(error: Error): void {
    this.#failure ??= error;
    this.#outlet?.destroy(error);
    this.#tellRoom();
  }

  /** The body from its first byte. Only while it `isHeld`. */
  open(): Readable {
    if (this.#outlet !== undefined) this.#ownsBuffers = false;
    this.#outlet?.destroy();
    this.#handedChunks = 0;
    this.#handedBytes = 0;
    this.#sentChunks = 0;
    this.#sentBytes = 0;
    const outlet = new Outlet(
      () => this.#hand(),
      // What an earlier try has sent says nothing about this one.
      (chunk, isOurs) => this.#outlet === outlet && this.#onSent(chunk, isOurs),
    );
    this.#outlet = outlet;
    if (this.#failure !== undefined) outlet.destroy(this.#failure);
    return outlet;
  }

  /** What is held now is given up for nobody any more. */
  keep(): void {
    this.#stopGivingUp();
  }

  /** What came, from the first byte, where it `isHeld`; the budget counts it still. */
  chunks(): readonly Buffer[] {
    return this.#chunks.filter((chunk) => chunk !== undefined);
  }

  /** Leaves `chunks` and what the budget counts for them to the caller. */
  handOver(): number {
    const counted = this.#countedBytes;
    this.#countedBytes = 0;
    this.dispose();
    return counted;
  }

  dispose(): void {
    this.#stopGivingUp();
    this.#stopHanding();
    this.#outlet?.destroy();
    this.#tellRoom();
    this.#budget.give(this.#countedBytes);
    this.#countedBytes = 0;
    this.#chunks = [];
  }

  /** As `dispose`, for a body that the store has confirmed: nobody reads from its buffers any more. */
  free(): void {
    for (const chunk of this.#chunks) this.#free(chunk);
    this.dispose();
  }

  #onSent(chunk: Buffer, isOurs: boolean): void {
    this.#sentBytes += chunk.length;
    if (isOurs) {
      this.#sentChunks += 1;
      if (!this.#isHeld) this.#free(chunk);
    }
    if (this.hasRoom) this.#tellRoom();
  }

  /** Once all that has come by now is here: it goes out in one call to the socket, which costs half of one for each. */
  #handSoon(): void {
    if (this.#outlet === undefined) return;
    if (this.#receivedBytes - this.#handedBytes >= worthSendingBytes)
      this.#soon ??= setImmediate(() => this.#handNow());
    else this.#later ??= setTimeout(() => this.#handNow(), sentAfterMs);
  }

  #handNow(): void {
    this.#stopHanding();
    this.#outlet?.more();
  }

  #stopHanding(): void {
    clearImmediate(this.#soon);
    clearTimeout(this.#later);
    this.#soon = undefined;
    this.#later = undefined;
  }

  #free(chunk: Buffer | undefined): void {
    if (this.#ownsBuffers && chunk !== undefined) freeBuffer(chunk);
  }

  #hand(): Buffer | 'wait' | 'end' {
    const index = this.#handedChunks;
    const chunk = this.#chunks[index];
    if (chunk === undefined) return this.#isReleased ? 'end' : 'wait';
    const isLast = index === this.#chunks.length - 1;
    if (isLast && !this.#isReleased) return 'wait';
    this.#handedChunks += 1;
    this.#handedBytes += chunk.length;
    if (!this.#isHeld) this.#chunks[index] = undefined;
    return chunk;
  }

  #count(bytes: number): void {
    if (this.#budget.take(bytes)) {
      this.#countedBytes += bytes;
      return;
    }
    this.#giveUp();
  }

  #giveUp(): boolean {
    const isLess = this.#isHeld && this.#countedBytes > 0;
    this.#isHeld = false;
    for (const chunk of this.#chunks.slice(0, this.#sentChunks)) this.#free(chunk);
    this.#budget.give(this.#countedBytes);
    this.#countedBytes = 0;
    this.#chunks.fill(undefined, 0, this.#handedChunks);
    return isLess;
  }

  async #release(): Promise<void> {
    try {
      await this.#beforeLast();
      this.#isReleased = true;
      this.#handNow();
    } catch (error) {
      this.fail(error instanceof Error ? error : new Error(String(error)));
    }
  }

  #tellRoom(): void {
    const onRoom = this.#onRoom;
    this.#onRoom = undefined;
    onRoom?.();
  }
}

/** Told of each buffer that is waited for no longer; `isOurs`: nobody reads from it any more. */
type OnSent = (chunk: Buffer, isOurs: boolean) => void;

class Outlet extends Readable {
  readonly #next: () => Buffer | 'wait' | 'end';
  readonly #onSent: OnSent;
  #isWanted = false;
  #destination: NodeJS.WritableStream | undefined;

  constructor(next: () => Buffer | 'wait' | 'end', onSent: OnSent) {
    super({ highWaterMark: waitingBytes });
    this.#next = next;
    this.#onSent = onSent;
    // A failure is told to whoever reads; without a listener it would end the process.
    this.on('error', () => {});
  }

  override _read(): void {
    this.#isWanted = true;
    this.more();
  }

  more(): void {
    if (this.#destination !== undefined) this.#write(this.#destination);
    while (this.#isWanted && !this.destroyed) {
      const next = this.#next();
      if (next === 'wait') return;
      if (next === 'end') {
        this.#isWanted = false;
        this.push(null);
        return;
      }
      this.#isWanted = this.push(next);
      this.#onSent(next, false);
    }
  }

  /** All that is here goes out at once: how much that may be is bounded where it comes in. */
  override pipe<T extends NodeJS.WritableStream>(destination: T): T {
    this.#destination = destination;
    destination.once('close', () => {
      this.#destination = undefined;
    });
    this.#write(destination);
    return destination;
  }

  #write(destination: NodeJS.WritableStream): void {
    while (!this.destroyed) {
      const next = this.#next();
      if (next === 'wait') return;
      if (next === 'end') {
        this.#destination = undefined;
        destination.end();
        return;
      }
      destination.write(next, (error) => {
        // After a failure the kernel may still be reading from it.
        if (!error) this.#onSent(next, true);
      });
    }
  }
}
