import { renewEveryMs } from './keep-lease.ts';
import type { Clock } from './ports.ts';
import type { NextFragment } from './range-records.ts';

interface Range {
  readonly from: number;
  readonly to: number;
}

/** A place that is on record as expected, and until when the reaper leaves it there. */
export interface ExpectedPlace extends NextFragment {
  readonly keptUntilMs: number;
}

/** Chunks of one upload that followed one another in this process. */
interface Sequence {
  readonly end: number;
  readonly length: number;
  readonly next: ExpectedPlace | undefined;
}

/** After so many in a row the next one is expected. Threads, and replicas that take turns, rarely bring as many. */
const expectedAfter = 3;
const mostUploads = 10_000;

/**
 * Places of the chunks that are expected next, put on record with the commit of the chunk before: a client that sends
 * one after the other waits for one statement for each, not for two. Nobody is kept from such a place.
 */
export class ExpectedPlaces {
  readonly #clock: Pick<Clock, 'now'>;
  readonly #renewEveryMs: number;
  readonly #sequences = new Map<string, Sequence>();

  constructor(clock: Pick<Clock, 'now'>, settings: { readonly leaseMs: number }) {
    this.#clock = clock;
    this.#renewEveryMs = renewEveryMs(settings);
  }

  /** Whether another chunk is expected to follow this one. */
  isExpectedAfter(uploadId: string, chunk: Range): boolean {
    return this.#lengthWith(uploadId, chunk) >= expectedAfter;
  }

  /** A chunk is durable, and the place of the next one on record, if there is one. */
  follow(uploadId: string, chunk: Range, next: ExpectedPlace | undefined): void {
    const length = this.#lengthWith(uploadId, chunk);
    this.#sequences.delete(uploadId);
    this.#sequences.set(uploadId, { end: chunk.to, length, next });
    const [oldest] = this.#sequences.keys();
    if (oldest !== undefined && this.#sequences.size > mostUploads) this.#sequences.delete(oldest);
  }

  /** The place of exactly this range, once. */
  take(uploadId: string, { from, to }: Range): ExpectedPlace | undefined {
    const sequence = this.#sequences.get(uploadId);
    const next = sequence?.next;
    if (sequence === undefined || next?.from !== from || next.to !== to) return undefined;
    this.#sequences.set(uploadId, { ...sequence, next: undefined });
    // From here on it is renewed.
    return this.#clock.now().getTime() < next.keptUntilMs - this.#renewEveryMs ? next : undefined;
  }

  #lengthWith(uploadId: string, { from }: Range): number {
    const sequence = this.#sequences.get(uploadId);
    return sequence?.end === from ? sequence.length + 1 : 1;
  }
}
