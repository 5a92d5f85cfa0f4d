import type { Deps } from './deps.ts';
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

/** Does the work while the claim's lease is renewed; lets the lease run out at once when the work fails. */
export async function underClaim<T>(deps: Deps, claim: Claim, work: () => Promise<T>): Promise<T> {
  const { leaseMs } = deps.settings;
  const row = { id: claim.upload.id, claimId: claim.claimId };
  const stopRenewing = deps.clock.every(leaseMs / 3, () => {
    deps.records.renewClaim({ ...row, leaseMs }).catch(() => undefined);
  });
  try {
    return await work();
  } catch (error) {
    await deps.records.releaseClaim(row).catch(() => undefined);
    throw error;
  } finally {
    stopRenewing();
  }
}
