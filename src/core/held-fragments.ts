import { freeBuffer } from './free-buffer.ts';
import type { MemoryBudget } from './memory-budget.ts';

/**
 * Bytes of durable fragments, held so that composing them need not read them back. They are in the store, too: the
 * oldest go when memory is wanted.
 */
export class HeldFragments {
  readonly #budget: MemoryBudget;
  readonly #held = new Map<string, { readonly chunks: readonly Buffer[]; readonly bytes: number; uses: number }>();

  constructor(budget: MemoryBudget) {
    this.#budget = budget;
    budget.onPressure('durable', () => this.#dropOldest());
  }

  get bytes(): number {
    return [...this.#held.values()].reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** Takes over buffers that the budget counts already. */
  hold(fragmentId: string, chunks: readonly Buffer[], bytes: number): void {
    this.#held.set(fragmentId, { chunks, bytes, uses: 0 });
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

  drop(fragmentId: string): void {
    const held = this.#held.get(fragmentId);
    if (held === undefined) return;
    this.#held.delete(fragmentId);
    this.#budget.give(held.bytes);
    if (held.uses === 0) held.chunks.forEach(freeBuffer);
  }

  #dropOldest(): boolean {
    for (const [id, { uses }] of this.#held) {
      if (uses > 0) continue;
      this.drop(id);
      return true;
    }
    return false;
  }
}
