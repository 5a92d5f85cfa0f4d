import type { Deps } from './deps.ts';
import { type CallOptions, StoreError } from './object-store.ts';
import { toUploadError } from './store-faults.ts';

/**
 * Calls to the store that a client waits for. A store that has not answered by then counts as unavailable: clients and
 * load balancers give up soon after, and would not learn whether to try again.
 * @param signals what else ends the calls
 * @throws UploadError `store_unavailable`, or what `work` throws
 */
export async function withinStoreWait<T>(
  { clock, settings: { storeWaitMs } }: Pick<Deps, 'clock' | 'settings'>,
  signals: readonly AbortSignal[],
  work: (options: CallOptions & { readonly signal: AbortSignal }) => Promise<T>,
): Promise<T> {
  const waited = new AbortController();
  const stopWaiting = clock.every(storeWaitMs, () =>
    waited.abort(new StoreError('unavailable', `no answer within ${storeWaitMs} ms`)),
  );
  try {
    return await work({ signal: AbortSignal.any([...signals, waited.signal]) });
  } catch (error) {
    throw waited.signal.aborted ? toUploadError(waited.signal.reason) : error;
  } finally {
    stopWaiting();
  }
}
