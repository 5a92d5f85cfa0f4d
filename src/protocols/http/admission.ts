import { UploadError } from '../../core/errors.ts';

/** What one body under way holds at most: socket, transform and store buffers. */
const bytesOfBody = 512 * 1024;

/** Keeps the memory for bodies under way within a budget: one that finds no room is refused before it is read. */
export class Admission {
  readonly #most: number;
  #underWay = 0;

  constructor(budgetBytes: number) {
    this.#most = Math.max(1, Math.floor(budgetBytes / bytesOfBody));
  }

  /** @throws UploadError `overloaded` */
  async admit<T>(work: () => Promise<T>): Promise<T> {
    if (this.#underWay >= this.#most) {
      throw new UploadError('overloaded', 'The gateway has as many bodies under way as it can. Try again.', {
        retryAfterSeconds: 1,
      });
    }
    this.#underWay++;
    try {
      return await work();
    } finally {
      this.#underWay--;
    }
  }
}
