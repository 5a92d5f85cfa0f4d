/** How many slots of one upload are composed at once; whoever covers a further one waits. */
const mostAtOnce = 2;

/** The compositions that run in this process, behind the requests that covered the slots. */
export class Compositions {
  readonly #running = new Map<string, Set<Promise<void>>>();

  /** Starts the work, and resolves when no more than a few run for the upload. */
  async start(uploadId: string, work: () => Promise<void>): Promise<void> {
    const running = this.#running.get(uploadId) ?? new Set();
    this.#running.set(uploadId, running);
    // What fails is left to whoever completes, and to the reaper. The request that covered the slot is answered first:
    // to check and send megabytes from memory takes the process for milliseconds.
    const composition = new Promise((resolve) => setImmediate(resolve))
      .then(work)
      .catch(() => undefined)
      .finally(() => {
        running.delete(composition);
        if (running.size === 0) this.#running.delete(uploadId);
      });
    running.add(composition);
    while (running.size >= mostAtOnce) await Promise.race(running);
  }

  /** Resolves once none runs for the upload, or at all. */
  async whenIdle(uploadId?: string): Promise<void> {
    for (;;) {
      const running = uploadId === undefined ? [...this.#running.values()] : [this.#running.get(uploadId) ?? new Set()];
      const all = running.flatMap((each) => [...each]);
      if (all.length === 0) return;
      await Promise.all(all);
    }
  }
}
