import { UploadError } from '../../core/errors.ts';
import type { MemoryBudget } from '../../core/memory-budget.ts';

/** What one piped body holds at most: socket, transform and store buffers. */
export const pipedBodyBytes = 512 * 1024;

/** What a body holds that is collected: the bytes themselves are counted as they come. */
const collectedBodyBytes = 128 * 1024;
/** The smallest part of S3: what is smaller is not piped through. */
const smallestPipedBytes = 5 * 1024 * 1024;

/** What a body that becomes a range holds, besides what is counted for its bytes. */
export function rangeBodyBytes(sizeBytes: number | undefined): number {
  return sizeBytes !== undefined && sizeBytes < smallestPipedBytes ? collectedBodyBytes : pipedBodyBytes;
}

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
