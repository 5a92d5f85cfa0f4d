import type { Deps } from '../../core/deps.ts';
import { UploadError } from '../../core/errors.ts';
import { type Admission, rangeBodyBytes } from '../http/admission.ts';

/** These clients take a refusal for the end: their chunks wait in the socket instead. */
const longestWaitMs = 15_000;
const firstPollMs = 20;
const slowestPollMs = 250;

/**
 * Runs the work once the gateway has room for a body.
 * @param sizeBytes the body's, where it is known
 * @param hasBegun whether the body is being read: from then on it can't be repeated
 * @throws UploadError `overloaded` when there was no room for long
 */
export async function waitForRoom<T>(
  deps: { readonly core: Deps; readonly admission: Admission },
  sizeBytes: number | undefined,
  work: () => Promise<T>,
  hasBegun: () => boolean,
): Promise<T> {
  const { clock, halted } = deps.core;
  const giveUpAt = clock.now().getTime() + longestWaitMs;
  for (let pollMs = firstPollMs; ; pollMs = Math.min(pollMs * 2, slowestPollMs)) {
    try {
      return await deps.admission.admit(rangeBodyBytes(sizeBytes), work);
    } catch (error) {
      const isOverload = error instanceof UploadError && error.code === 'overloaded' && !halted.aborted;
      if (!isOverload || hasBegun() || clock.now().getTime() + pollMs > giveUpAt) throw error;
    }
    await clock.sleep(pollMs, halted);
  }
}
