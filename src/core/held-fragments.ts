import { freeBuffer } from './free-buffer.ts';
import type { MemoryBudget } from './memory-budget.ts';
import type { Clock } from './ports.ts';

interface Held {
  readonly chunks: readonly Buffer[];
  readonly bytes: number;
  readonly sinceMs: number;
  uses: number;
  isOwned: boolean;
}

/**
 * Bytes of durable fragments, held so that composing them need not read them back. They are in the store, too: the
 * oldest go when memory is wanted.
 */
export class HeldFragments {
  readonly #budget: MemoryBudget;
  readonly #clock: Pick<Clock, 'now'>;
  readonly #held = new Map<string, Held>();

  constructor(budget: MemoryBudget, clock: Pick<Clock, 'now'>) {
    this.#budget = budget;
    this.#clock = clock;
    budget.onPressure('durable', () => this.#dropOldest());
  }

  get bytes(): number {
    return [...this.#held.values()].reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** Takes over buffers that the budget counts already. */
  hold(fragmentId: string, chunks: readonly Buffer[], bytes: number): void {
    this.#held.set(fragmentId, { chunks, bytes, sinceMs: this.#clock.now().getTime(), uses: 0, isOwned: true });
  }

  /** The fragment's bytes; they stay until `letGo`. */
  use(fragmentId: string): readonly Buffer[] | undefined {
    const held = this.#held.get(fragmentId);
    if (held === undefined) return undefined;
    held.uses += 1;
    return held.chunks;
  }

  letGo(fragmentId: string): void {
    const held = this.#held.get(fragmentId);
    if (held !== undefined) held.uses -= 1;
  }

  /** A failed call may still be writing its buffers: they are left to the collector. */
  disown(fragmentId: string): void {
    const held = this.#held.get(fragmentId);
    if (held !== undefined) held.isOwned = false;
  }

  drop(fragmentId: string): void {
    const held = this.#held.get(fragmentId);
    if (held === undefined) return;
    this.#held.delete(fragmentId);
    this.#budget.give(held.bytes);
    if (held.isOwned && held.uses === 0) held.chunks.forEach(freeBuffer);
  }

  /** Of clients that went away, and of slots that another process composed. */
  dropOlderThan(ms: number): void {
    const sinceMs = this.#clock.now().getTime() - ms;
    while (this.#dropOldest(sinceMs));
  }

  #dropOldest(untilMs = Number.POSITIVE_INFINITY): boolean {
    for (const [id, held] of this.#held) {
      if (held.sinceMs > untilMs) return false;
      if (held.uses > 0) continue;
      this.drop(id);
      return true;
    }
    return false;
  }
}
