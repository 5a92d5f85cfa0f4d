/** What is given up for others: bytes that are durable already, or also those that only spare a client a repeat. */
export type Precious = 'durable' | 'under_way';

/**
 * The bytes that this process may hold for bodies. Much of them is held only to save work, and given up when memory is
 * wanted for more.
 */
export class MemoryBudget {
  readonly #limitBytes: number;
  readonly #holders: Readonly<Record<Precious, Set<() => boolean>>> = { durable: new Set(), under_way: new Set() };
  #usedBytes = 0;

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  get usedBytes(): number {
    return this.#usedBytes;
  }

  /** More than half is in use: who is slow to fill what it holds should let it go. */
  get isTight(): boolean {
    return this.#usedBytes > this.#limitBytes / 2;
  }

  /** To hold bytes: what others hold of durable bytes is given up for it. `false`: there is no room. */
  take(bytes: number): boolean {
    return this.#take(bytes, ['durable']);
  }

  /** To let a request in: all that is held to save work is given up for it. `false`: there is no room. */
  admit(bytes: number): boolean {
    return this.#take(bytes, ['durable', 'under_way']);
  }

  give(bytes: number): void {
    this.#usedBytes -= bytes;
  }

  /**
   * @param giveUp frees some of what is held; `false` when there is nothing
   * @returns takes it back
   */
  onPressure(what: Precious, giveUp: () => boolean): () => void {
    this.#holders[what].add(giveUp);
    return () => this.#holders[what].delete(giveUp);
  }

  #take(bytes: number, givenUp: readonly Precious[]): boolean {
    while (this.#usedBytes + bytes > this.#limitBytes) {
      const holders = givenUp.flatMap((what) => [...this.#holders[what]]);
      if (!holders.some((giveUp) => giveUp())) return false;
    }
    this.#usedBytes += bytes;
    return true;
  }
}
