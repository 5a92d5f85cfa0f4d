import type { Deps } from './deps.ts';
import type { LiveAttempt } from './live-attempts.ts';

/**
 * Makes an append writer known to this process before it is on record: who asks where to go on may come while its request
 * still finds its way there.
 * @returns to be handed to `writeRange`, and to be ended in any case
 */
export function announceWriter(deps: Deps, uploadId: string): LiveAttempt {
  return deps.attempts.beginWriter(deps.newLeaseId(), uploadId);
}
