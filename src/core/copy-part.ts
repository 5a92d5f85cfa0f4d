import type { Deps } from './deps.ts';
import { keepLease } from './keep-lease.ts';
import { leaseSlot } from './lease-slot.ts';
import type { ByteRange, ObjectAddress } from './ports.ts';
import type { Principal } from './principal.ts';
import { commitPart, settleFailure } from './put-part.ts';
import { tellingFaults, toUploadError } from './store-faults.ts';
import type { Part } from './upload.ts';

/**
 * Makes a part of a range of an object that is at the store already. It yields to nobody: the store does not stop.
 * @throws UploadError, StoreError `no_such_object`
 */
export async function copyPart(
  deps: Deps,
  input: {
    readonly principal: Principal;
    readonly uploadId: string;
    readonly partNumber: number;
    readonly offset: number;
    readonly source: ObjectAddress & { readonly range: ByteRange };
  },
): Promise<void> {
  const { partNumber, offset, source } = input;
  const attempt = { uploadId: input.uploadId, partNumber, attemptId: deps.newLeaseId() };
  const { upload, heldUntilMs } = await leaseSlot(deps, input.principal, attempt, () => undefined);
  const live = deps.attempts.begin(attempt.attemptId, heldUntilMs);
  const stopRenewing = keepLease(deps, live, (leaseMs) => deps.records.renewAttempt({ ...attempt, leaseMs }));
  try {
    live.seal();
    const { etag } = await tellingFaults(deps, 'copyPart', upload.id, () =>
      deps.store.copyPart(
        { bucket: upload.bucket, key: upload.storeKey, storeUploadId: upload.storeUploadId, partNumber, source },
        { signal: deps.halted },
      ),
    );
    const sizeBytes = source.range.last - source.range.first + 1;
    const part: Part = { partNumber, offset, sizeBytes, etag, digests: {} };
    await commitPart(deps, attempt, input, part, false);
    deps.events.emit({ type: 'part_stored', uploadId: upload.id, partNumber, sizeBytes });
  } catch (error) {
    await settleFailure(deps, attempt, upload, { error, sealed: true });
    throw toUploadError(error);
  } finally {
    stopRenewing();
    live.end();
  }
}
