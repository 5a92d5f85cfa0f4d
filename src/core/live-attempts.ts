import type { AttemptAddress } from './ports.ts';

/**
 * The attempts at parts that this process is receiving, so that a newer request for the same part stops the
 * older one at once. Only a hint: the row's lease is what fences.
 */
export class LiveAttempts {
  readonly #stops = new Map<string, (reason: Error) => void>();
  readonly #idle = new Set<() => void>();

  get size(): number {
    return this.#stops.size;
  }

  /** Stops the attempt that has the slot, if any, and takes its place. */
  begin({ uploadId, partNumber }: AttemptAddress, stop: (reason: Error) => void): { end(): void } {
    const slot = `${uploadId}/${partNumber}`;
    this.#stops.get(slot)?.(new DisplacedError());
    this.#stops.set(slot, stop);
    return {
      end: () => {
        if (this.#stops.get(slot) === stop) this.#stops.delete(slot);
        if (this.#stops.size === 0) for (const wake of this.#idle) wake();
      },
    };
  }

  /** Resolves once no attempt is live. */
  async whenIdle(): Promise<void> {
    if (this.#stops.size === 0) return;
    await new Promise<void>((resolve) => this.#idle.add(resolve));
  }

  stopAll(reason: Error): void {
    for (const stop of this.#stops.values()) stop(reason);
  }
}

/** A newer request has taken the slot. */
export class DisplacedError extends Error {
  override readonly name = 'DisplacedError';
}
