/** Random choices that a seed repeats: as far as the order in which they are asked for is the same. */
export class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** mulberry32: from 0, less than 1. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  }

  /** A whole number, both ends included. */
  between(least: number, most: number): number {
    return least + Math.floor(this.next() * (Math.max(least, most) - least + 1));
  }

  /** As `between`, with as many small ones as large ones: each doubling is as likely as the next. */
  spread(least: number, most: number): number {
    return Math.round(least * (most / least) ** this.next());
  }

  isOneIn(count: number): boolean {
    return this.next() * count < 1;
  }

  pick<const T>(items: readonly [T, ...T[]]): T {
    return items[this.between(0, items.length - 1)] ?? items[0];
  }

  shuffleSometimes<T>(items: readonly T[]): T[] {
    if (this.isOneIn(2)) return [...items];
    return items
      .map((item) => ({ item, rank: this.next() }))
      .sort((one, other) => one.rank - other.rank)
      .map(({ item }) => item);
  }
}
