import { UploadError } from '../../core/errors.ts';

/** What one piped body holds at most: socket, transform and store buffers. */
export const pipedBodyBytes = 512 * 1024;

/** Keeps the memory for bodies under way within a budget: one that finds no room is refused before it is read. */
export class Admission {
  readonly #budgetBytes: number;
  #usedBytes = 0;

  constructor(budgetBytes: number) {
    this.#budgetBytes = budgetBytes;
  }

  /** @throws UploadError `overloaded` */
  async admit<T>(sizeBytes: number, work: () => Promise<T>): Promise<T> {
    if (this.#usedBytes + sizeBytes > this.#budgetBytes) {
      throw new UploadError('overloaded', 'The gateway has as many bodies under way as it can. Try again.', {
        retryAfterSeconds: 1,
      });
    }
    this.#usedBytes += sizeBytes;
    try {
      return await work();
    } finally {
      this.#usedBytes -= sizeBytes;
    }
  }
}
