/** How many parts of uploads that are put together are made at once, of all in this process. */
const partsAtOnce = 16;

/** What this process puts together, behind the requests that asked for it. */
export class Joins {
  readonly #running = new Map<string, Promise<void>>();
  readonly #waiting: (() => void)[] = [];
  #parts = 0;

  /** Does the work, unless it is being done for this upload: then it ends as that does. */
  run(uploadId: string, work: () => Promise<void>): Promise<void> {
    const known = this.#running.get(uploadId);
    if (known !== undefined) return known;
    const started = work().finally(() => this.#running.delete(uploadId));
    this.#running.set(uploadId, started);
    return started;
  }

  /** Makes one part when it is its turn. */
  async part(work: () => Promise<void>): Promise<void> {
    if (this.#parts < partsAtOnce) this.#parts += 1;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      await work();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#parts -= 1;
      else next();
    }
  }

  /** Resolves once nothing is put together. */
  async whenIdle(): Promise<void> {
    while (this.#running.size > 0) await Promise.allSettled(this.#running.values());
  }
}
