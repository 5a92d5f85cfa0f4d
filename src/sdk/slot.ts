import type { Gap } from './client.ts';
import type { RequestBody } from './transport/transport.ts';

/** The bytes that belong to one part number, and those of them that are still to come. */
export class Slot {
  readonly partNumber: number;
  readonly offset: number;
  readonly sizeBytes: number;
  /** It covers all bytes of its part: it can be sent as one. */
  readonly isPart: boolean;
  /** Its last byte is the part's. */
  readonly endsPart: boolean;
  /** A range of the slot, by its offset in the whole. */
  readonly read: (offset: number, sizeBytes: number) => RequestBody;
  #gaps: readonly Gap[];
  #wasRetried = false;

  constructor(
    place: {
      readonly partNumber: number;
      readonly offset: number;
      readonly sizeBytes: number;
      readonly isPart?: boolean;
      readonly endsPart?: boolean;
    },
    read: (offset: number, sizeBytes: number) => RequestBody,
  ) {
    this.partNumber = place.partNumber;
    this.offset = place.offset;
    this.sizeBytes = place.sizeBytes;
    this.isPart = place.isPart ?? true;
    this.endsPart = place.endsPart ?? true;
    this.read = read;
    this.#gaps = [{ offset: place.offset, sizeBytes: place.sizeBytes }];
  }

  get isUntouched(): boolean {
    return this.missingBytes === this.sizeBytes;
  }

  get isDone(): boolean {
    return this.#gaps.length === 0;
  }

  /** A request with its bytes broke off: something may still have hold of them. */
  get wasRetried(): boolean {
    return this.#wasRetried;
  }

  retried(): void {
    this.#wasRetried = true;
  }

  get missingBytes(): number {
    return this.#gaps.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  }

  /** What to send next. */
  next(chunkBytes: number): Gap {
    const [gap = { offset: this.offset, sizeBytes: 0 }] = this.#gaps;
    return { offset: gap.offset, sizeBytes: Math.min(gap.sizeBytes, chunkBytes) };
  }

  /** The beginning of the first gap is durable now. */
  stored(sizeBytes: number): void {
    const [gap, ...rest] = this.#gaps;
    if (gap === undefined) return;
    const left = { offset: gap.offset + sizeBytes, sizeBytes: gap.sizeBytes - sizeBytes };
    this.#gaps = left.sizeBytes > 0 ? [left, ...rest] : rest;
  }

  /** Keeps what lies within the ranges that the gateway misses. Bytes that turned out to be durable. */
  cutTo(missing: readonly Gap[]): number {
    const before = this.missingBytes;
    const end = this.offset + this.sizeBytes;
    this.#gaps = missing.flatMap((gap) => {
      const from = Math.max(this.offset, gap.offset);
      const to = Math.min(end, gap.offset + gap.sizeBytes);
      return from < to ? [{ offset: from, sizeBytes: to - from }] : [];
    });
    return before - this.missingBytes;
  }
}
