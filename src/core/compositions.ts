/** How many slots of one upload are composed at once; whoever covers a further one waits. */
const mostAtOnce = 2;

/** One upload's compositions. Each is `composing` until its part counts, and `running` until nothing is left of it. */
interface Running {
  readonly composing: Set<Promise<void>>;
  readonly running: Set<Promise<void>>;
}

/** The compositions that run in this process, behind the requests that covered the slots. */
export class Compositions {
  readonly #uploads = new Map<string, Running>();

  /**
   * Starts the work, and resolves when no more than a few run for the upload.
   * @param compose makes the part and records it
   * @param clear deletes what the part was made of; nobody but the process's end waits for it
   */
  async start(uploadId: string, compose: () => Promise<void>, clear: () => Promise<void>): Promise<void> {
    const upload = this.#uploads.get(uploadId) ?? { composing: new Set(), running: new Set() };
    this.#uploads.set(uploadId, upload);
    // The request that covered the slot is answered first: to check and send megabytes from memory takes the process
    // for milliseconds.
    const composed = new Promise((resolve) => setImmediate(resolve)).then(compose);
    // What fails is left to whoever completes, and to the reaper.
    const composing = composed.catch(() => undefined).finally(() => upload.composing.delete(composing));
    const running = composed
      .then(clear)
      .catch(() => undefined)
      .finally(() => {
        upload.running.delete(running);
        if (upload.running.size === 0) this.#uploads.delete(uploadId);
      });
    upload.composing.add(composing);
    upload.running.add(running);
    while (upload.running.size >= mostAtOnce) await Promise.race(upload.running);
  }

  /** Resolves once none is made for the upload. */
  async whenComposed(uploadId: string): Promise<void> {
    for (;;) {
      const composing = this.#uploads.get(uploadId)?.composing;
      if (composing === undefined || composing.size === 0) return;
      await Promise.all(composing);
    }
  }

  /** Resolves once none runs at all. */
  async whenIdle(): Promise<void> {
    for (;;) {
      const all = [...this.#uploads.values()].flatMap(({ running }) => [...running]);
      if (all.length === 0) return;
      await Promise.all(all);
    }
  }
}
