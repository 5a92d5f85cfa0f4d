import { giveBack, type LeasedGap } from './lease-gap.ts';
import type { Clock } from './ports.ts';
import type { RangeRecords } from './range-records.ts';

interface Range {
  readonly from: number;
  readonly to: number;
}

/** Chunks of one upload that followed one another in this process. */
interface Sequence {
  readonly end: number;
  readonly length: number;
  readonly sinceMs: number;
  readonly next: LeasedGap | undefined;
}

/** After so many in a row the next one is expected. Threads, and replicas that take turns, rarely bring as many. */
const expectedAfter = 3;
/** For so long it is waited for: others who want its place have to ask for it meanwhile. */
const waitedForMs = 2_000;
const mostUploads = 10_000;

/**
 * Places of chunks that are expected next, leased with the commit of the chunk before: a client that sends one after
 * the other waits for one statement for each, not for two.
 */
export class NextLeases {
  readonly #clock: Pick<Clock, 'now' | 'every'>;
  readonly #records: Pick<RangeRecords, 'withdrawFragment'>;
  readonly #sequences = new Map<string, Sequence>();
  #stopSweeping: (() => void) | undefined;

  constructor(clock: Pick<Clock, 'now' | 'every'>, records: Pick<RangeRecords, 'withdrawFragment'>) {
    this.#clock = clock;
    this.#records = records;
  }

  /** Whether another chunk is expected to follow this one. */
  isExpectedAfter(uploadId: string, chunk: Range): boolean {
    return this.#lengthWith(uploadId, chunk) >= expectedAfter;
  }

  /** A chunk is on record, and with it the lease of the next one, if there is one. */
  follow(uploadId: string, chunk: Range, next: LeasedGap | undefined): void {
    const length = this.#lengthWith(uploadId, chunk);
    this.#end(uploadId);
    this.#sequences.set(uploadId, { end: chunk.to, length, sinceMs: this.#clock.now().getTime(), next });
    const [oldest] = this.#sequences.keys();
    if (oldest !== undefined && this.#sequences.size > mostUploads) this.#end(oldest);
    if (next === undefined) return;
    next.live.signal.addEventListener('abort', () => this.#yield(uploadId, next), { once: true });
    this.#stopSweeping ??= this.#clock.every(waitedForMs / 2, () => this.#sweep());
  }

  /** The lease of exactly this range. Resolves once no other one of the upload is in its way here. */
  async take(uploadId: string, { from, to }: Range): Promise<LeasedGap | undefined> {
    const sequence = this.#sequences.get(uploadId);
    const next = sequence?.next;
    if (sequence === undefined || next?.gap === undefined) return undefined;
    if (next.gap.to <= from || next.gap.from >= to) return undefined;
    this.#sequences.set(uploadId, { ...sequence, next: undefined });
    if (next.gap.from === from && next.gap.to === to && this.#isWaitedFor(sequence)) return next;
    await giveBack(this.#records, next);
    return undefined;
  }

  #lengthWith(uploadId: string, { from }: Range): number {
    const sequence = this.#sequences.get(uploadId);
    return sequence?.end === from && this.#isWaitedFor(sequence) ? sequence.length + 1 : 1;
  }

  #isWaitedFor({ sinceMs }: Sequence): boolean {
    return this.#clock.now().getTime() - sinceMs < waitedForMs;
  }

  #yield(uploadId: string, next: LeasedGap): void {
    // Once taken it is the request's.
    if (this.#sequences.get(uploadId)?.next === next) this.#end(uploadId);
  }

  #end(uploadId: string): void {
    const next = this.#sequences.get(uploadId)?.next;
    this.#sequences.delete(uploadId);
    if (next !== undefined) void giveBack(this.#records, next);
  }

  #sweep(): void {
    for (const [uploadId, sequence] of this.#sequences) if (!this.#isWaitedFor(sequence)) this.#end(uploadId);
    if ([...this.#sequences.values()].some(({ next }) => next !== undefined)) return;
    this.#stopSweeping?.();
    this.#stopSweeping = undefined;
  }
}
