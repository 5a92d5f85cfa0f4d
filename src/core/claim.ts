import type { Deps } from './deps.ts';
import { UploadError } from './errors.ts';
import type { CallOptions } from './object-store.ts';
import type { Upload } from './upload.ts';

/** An upload that this process may complete or abort until the lease runs out. */
export interface Claim {
  readonly upload: Upload & { readonly storeUploadId: string };
  readonly claimId: string;
}

export function claimOf(upload: Upload, claimId: string): Claim {
  if (upload.storeUploadId === undefined) throw new Error(`upload ${upload.id} was claimed without a store upload ID`);
  return { upload: { ...upload, storeUploadId: upload.storeUploadId }, claimId };
}

/** A claim while its owner works on it. */
export interface HeldClaim extends Claim {
  /** For every call to the store: aborts when the claim is lost or the process stops. */
  readonly options: CallOptions & { readonly signal: AbortSignal };
  /**
   * Before a call that must not be made by two: asks the records whether the claim still holds.
   * @throws UploadError `busy`
   */
  renew(): Promise<void>;
}

/** Does the work while the claim's lease is renewed; lets the lease run out at once when the work fails. */
export async function underClaim<T>(deps: Deps, claim: Claim, work: (held: HeldClaim) => Promise<T>): Promise<T> {
  const { leaseMs } = deps.settings;
  const row = { id: claim.upload.id, claimId: claim.claimId };
  const lost = new AbortController();
  const renew = async () => {
    if (await deps.records.renewClaim({ ...row, leaseMs })) return;
    lost.abort(new UploadError('busy', 'The upload is in other hands now. Try again.', { retryAfterSeconds: 1 }));
    lost.signal.throwIfAborted();
  };
  const signal = AbortSignal.any([lost.signal, deps.halted]);
  const stopRenewing = deps.clock.every(leaseMs / 3, () => void renew().catch(() => undefined));
  try {
    return await work({ ...claim, options: { signal }, renew });
  } catch (error) {
    await deps.leftLeases.giveBack(() => deps.records.releaseClaim(row));
    throw error;
  } finally {
    stopRenewing();
  }
}
