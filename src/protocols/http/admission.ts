import { UploadError } from '../../core/errors.ts';
import type { MemoryBudget } from '../../core/memory-budget.ts';

/** What one piped body holds at most: socket, transform and store buffers. */
export const pipedBodyBytes = 512 * 1024;

/** Keeps the memory for bodies under way within a budget: one that finds no room is refused before it is read. */
export class Admission {
  readonly #memory: MemoryBudget;

  constructor(memory: MemoryBudget) {
    this.#memory = memory;
  }

  /** @throws UploadError `overloaded` */
  async admit<T>(sizeBytes: number, work: () => Promise<T>): Promise<T> {
    if (!this.#memory.admit(sizeBytes)) {
      throw new UploadError('overloaded', 'The gateway has as many bodies under way as it can. Try again.', {
        retryAfterSeconds: 1,
      });
    }
    try {
      return await work();
    } finally {
      this.#memory.give(sizeBytes);
    }
  }
}
