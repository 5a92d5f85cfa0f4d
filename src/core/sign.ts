import { decideLayout } from './decide-layout.ts';
import type { Deps } from './deps.ts';
import { UploadError } from './errors.ts';
import { findUpload, multipartOf, notOpen, type OpenUpload, requireOpen, requireOwnBytes } from './find.ts';
import { rangeOf } from './layout.ts';
import type { Pin } from './object-store.ts';
import type { Principal } from './principal.ts';

export interface SignedPart {
  readonly partNumber: number;
  readonly offset: number | undefined;
  readonly sizeBytes: number | undefined;
  readonly url: string;
  /** To be sent with the PUT as they are: they are part of the signature. */
  readonly headers: Readonly<Record<string, string>>;
  readonly expiresAt: Date;
}

/** SigV4 signs for seven days at most. */
export const longestSignatureSeconds = 604_800;
export const mostSignedAtOnce = 1000;

/**
 * URLs by which a client PUTs parts straight to the store. From then on the store's list is compared before the
 * upload completes.
 * @throws UploadError `unsupported` where the store signs nothing, `limit_exceeded`, `state_conflict`
 */
export async function signParts(
  deps: Deps,
  input: {
    readonly principal: Principal;
    readonly uploadId: string;
    readonly partNumbers: readonly number[];
    readonly expiresInSeconds: number;
    /** What parts must be, by number: the store then takes no other content. */
    readonly pins?: ReadonlyMap<number, Pin>;
  },
): Promise<readonly SignedPart[]> {
  const upload = await decideLayout(deps, requireOpen(await findUpload(deps, input.principal, input.uploadId)));
  requireOwnBytes(upload);
  if (!deps.store.capabilities.presigns) {
    throw new UploadError('unsupported', 'This store takes no parts directly. Send them to the gateway.');
  }
  if (upload.digest !== undefined) {
    throw new UploadError(
      'state_conflict',
      'The upload declares a digest of the whole, which can only be checked for parts that pass the gateway.',
    );
  }
  for (const { algorithm } of input.pins?.values() ?? []) requirePin(deps, algorithm);
  const slots = input.partNumbers.map((partNumber) => slotToSign(deps, upload, partNumber));
  if (!(await deps.records.markSigned(upload.id))) {
    throw notOpen(await findUpload(deps, input.principal, input.uploadId));
  }
  const expiresAt = new Date(deps.clock.now().getTime() + input.expiresInSeconds * 1000);
  return Promise.all(
    slots.map(async (slot) => ({
      ...slot,
      ...(await deps.store.presignUploadPart({
        ...multipartOf(upload),
        partNumber: slot.partNumber,
        // The last part of an upload of unknown size may be shorter than its slot.
        sizeBytes: upload.sizeBytes === undefined ? undefined : slot.sizeBytes,
        pin: input.pins?.get(slot.partNumber),
        expiresInSeconds: input.expiresInSeconds,
      })),
      expiresAt,
    })),
  );
}

function requirePin({ store }: Deps, algorithm: Pin['algorithm']): void {
  if (algorithm === 'md5' || store.pinsBy() === algorithm) return;
  throw new UploadError('unsupported', 'This store holds a signed URL to an MD5 only, md5=:…:.', {
    details: { field: 'checksums' },
  });
}

function slotToSign(
  deps: Deps,
  upload: OpenUpload,
  partNumber: number,
): { partNumber: number; offset: number | undefined; sizeBytes: number | undefined } {
  const { maxParts } = deps.store.limits;
  if (partNumber < 1 || partNumber > maxParts) {
    throw new UploadError('limit_exceeded', `Part numbers run from 1 to ${maxParts}.`, {
      details: { limit: maxParts },
    });
  }
  if (upload.layout.kind !== 'planned') return { partNumber, offset: undefined, sizeBytes: undefined };
  const slot = rangeOf(upload.layout, partNumber, upload.sizeBytes);
  if (slot !== undefined) return slot;
  throw new UploadError('limit_exceeded', `The upload ends before part ${partNumber}.`, {
    details: { expectedSize: upload.sizeBytes },
  });
}
