import pRetry from 'p-retry';
import { isTemporaryError, TemporaryError } from './errors.ts';
import type { UploadEvent } from './options.ts';
import { interruptible } from './wait.ts';

const firstPauseMs = 250;
const longestPauseMs = 30_000;

/** Tries again what failed for now, until nothing of the whole upload got through for too long. */
export class Patience {
  readonly #giveUpAfterMs: number;
  readonly #signal: AbortSignal;
  readonly #onRetry: (event: Extract<UploadEvent, { type: 'retry' }>) => void;
  /** Since the first failure after something got through: what takes long, or rests, has not failed. */
  #failingSinceMs: number | undefined;

  constructor(
    giveUpAfterMs: number,
    signal: AbortSignal,
    onRetry: (event: Extract<UploadEvent, { type: 'retry' }>) => void,
  ) {
    this.#giveUpAfterMs = giveUpAfterMs;
    this.#signal = signal;
    this.#onRetry = onRetry;
  }

  /** Something got through. */
  renew(): void {
    this.#failingSinceMs = undefined;
  }

  /**
   * @param work told how many times it has failed before
   * @throws TemporaryError `gave_up`, the signal's reason, and what `work` throws for good
   */
  async retry<T>(work: (failures: number) => Promise<T>, partNumber?: number): Promise<T> {
    return pRetry((attempt) => work(attempt - 1), {
      retries: Number.POSITIVE_INFINITY,
      minTimeout: firstPauseMs,
      maxTimeout: longestPauseMs,
      randomize: true,
      signal: this.#signal,
      shouldRetry: ({ error }) => isPassing(error),
      onFailedAttempt: async ({ error, retryDelay }) => {
        if (!isPassing(error)) return;
        const delayMs = Math.max(retryDelay, error.retryAfterMs ?? 0);
        this.#requireHope(error, delayMs);
        this.#onRetry({ type: 'retry', error, delayMs, partNumber });
        await interruptible(delayMs - retryDelay, this.#signal);
      },
    });
  }

  #requireHope(error: TemporaryError, delayMs: number): void {
    const nowMs = performance.now();
    this.#failingSinceMs ??= nowMs;
    if (nowMs + delayMs - this.#failingSinceMs <= this.#giveUpAfterMs) return;
    const why =
      delayMs > this.#giveUpAfterMs
        ? `It asks to come back in ${Math.round(delayMs / 1000)} s: run it again then`
        : `Nothing got through for ${Math.round((nowMs + delayMs - this.#failingSinceMs) / 1000)} s: run it again later`;
    throw new TemporaryError(`${error.message}. ${why}`, {
      code: 'gave_up',
      status: error.status,
      problem: error.problem,
      cause: error,
    });
  }
}

function isPassing(error: unknown): error is TemporaryError {
  return isTemporaryError(error) && error.code !== 'gave_up';
}
