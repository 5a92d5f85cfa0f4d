import type { Deps } from './deps.ts';
import type { Digests } from './digest.ts';
import { UploadError } from './errors.ts';
import { multipartOf } from './find.ts';
import { holdSlot } from './hold-slot.ts';
import { leaseSlot } from './lease-slot.ts';
import { DisplacedError } from './live-attempts.ts';
import type { ByteRange, ObjectAddress } from './object-store.ts';
import type { Principal } from './principal.ts';
import { commitPart, settleFailure } from './put-part.ts';
import { tellingFaults, toUploadError } from './store-faults.ts';
import type { Part } from './upload.ts';

/**
 * Makes a part of an object that is at the store already, or of a range of it. It yields to nobody: the store does not stop.
 * @param input.digests of those bytes, as far as they are known
 * @throws UploadError `object_not_found` where the source is gone, or is another object by now
 */
export async function copyPart(
  deps: Deps,
  input: {
    readonly principal: Principal;
    readonly uploadId: string;
    readonly partNumber: number;
    readonly offset: number;
    readonly sizeBytes: number;
    readonly source: ObjectAddress & { readonly range: ByteRange | undefined; readonly etag: string | undefined };
    readonly digests: Digests;
  },
): Promise<void> {
  const { partNumber, offset, sizeBytes, source, digests } = input;
  const attempt = { uploadId: input.uploadId, partNumber, attemptId: deps.newLeaseId() };
  const { upload, heldUntilMs } = await leaseSlot(deps, input.principal, attempt, () => undefined);
  const held = holdSlot(deps, attempt, heldUntilMs);
  try {
    held.live.seal();
    const { etag } = await tellingFaults(deps, 'copyPart', upload.id, () =>
      deps.store.copyPart({ ...multipartOf(upload), partNumber, source }, { signal: deps.halted }),
    );
    const part: Part = { partNumber, offset, sizeBytes, etag, digests };
    await commitPart(deps, attempt, input, part, false);
    deps.events.emit({ type: 'part_stored', uploadId: upload.id, partNumber, sizeBytes });
  } catch (error) {
    await settleFailure(deps, held, upload, error);
    if (!(error instanceof DisplacedError)) throw toUploadError(error);
    throw new UploadError('busy', 'The part is in other hands now.', { retryAfterSeconds: 1, cause: error });
  } finally {
    held.end();
  }
}
