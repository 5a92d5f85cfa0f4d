import { type Claim, type HeldClaim, underClaim } from './claim.ts';
import type { Deps } from './deps.ts';
import { UploadError } from './errors.ts';
import { isSameEtag } from './etag.ts';
import { goneError, multipartOf } from './find.ts';
import { isStaged } from './limits.ts';
import { type StoredPart, StoreError } from './object-store.ts';
import { partsOf } from './parts-of.ts';
import { provenEtag } from './proof.ts';
import { tellingFaults, toUploadError } from './store-faults.ts';
import type { Part, Upload } from './upload.ts';
import { faultOfWhole } from './whole-digest.ts';

/** How often Complete is tried before the claim is left to the reaper. */
const tries = 3;
const pauseMs = 500;

/**
 * Brings a claimed upload to its end: `completed` when the store has said so, `open` again when the store or a
 * check refused, `lost` when the store has neither the upload nor an object of ours. Where the store does not
 * tell, the upload stays `completing` for the next caller or the reaper: nothing is ever aborted or deleted
 * after a Complete whose outcome is unknown.
 * @param input.takenOver an earlier owner of the claim may have called Complete already
 * @param input.doubtful the store's list is compared with the records first
 * @throws UploadError
 */
export async function finishCompletion(
  deps: Deps,
  claim: Claim,
  input: { readonly takenOver: boolean; readonly doubtful: boolean },
): Promise<Upload> {
  return underClaim(deps, claim, (held) => finishHeld(deps, held, input));
}

async function finishHeld(
  deps: Deps,
  claim: HeldClaim,
  input: { readonly takenOver: boolean; readonly doubtful: boolean },
): Promise<Upload> {
  if (input.takenOver) {
    const etag = await askForProof(deps, claim);
    if (etag !== undefined) return finish(deps, claim, etag);
  }
  const parts = await partsOf(deps, claim.upload.id);
  await requireCoverage(deps, claim, parts);
  await requireSizes(deps, claim, parts);
  const digestFault = faultOfWhole(parts, claim.upload.digest);
  if (digestFault !== undefined) await refuse(deps, claim, digestFault);
  if (input.takenOver || input.doubtful) {
    const stored = await listAtStore(deps, claim);
    if (stored === undefined) return loseUnlessCompleted(deps, claim);
    await requireEqual(deps, claim, parts, stored);
  }
  return completeAtStore(deps, claim, parts, input.takenOver);
}

type ListedPart = Pick<Part, 'partNumber' | 'etag'>;

async function completeAtStore(
  deps: Deps,
  claim: HeldClaim,
  recorded: readonly Part[],
  takenOver: boolean,
): Promise<Upload> {
  const { upload } = claim;
  const parts = recorded.length > 0 ? recorded : await putEmptyPart(deps, claim);
  if (parts === undefined) return loseUnlessCompleted(deps, claim);
  let isUncertain = takenOver;
  for (let attempt = 1; ; attempt++) {
    let failure: StoreError | undefined;
    await claim.renew();
    try {
      const { etag } = await tellingFaults(deps, 'completeMultipartUpload', upload.id, () =>
        deps.store.completeMultipartUpload(
          { ...multipartOf(claim.upload), parts, ifNoneMatch: upload.ifNoneMatch },
          claim.options,
        ),
      );
      if (etag !== '') return await finish(deps, claim, etag);
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      failure = error;
    }
    const proven = await askForProof(deps, claim);
    if (proven !== undefined) return finish(deps, claim, proven);
    if (failure?.kind === 'precondition_failed') return refuse(deps, claim, toUploadError(failure));
    const listed = await listAtStore(deps, claim);
    if (listed === undefined) return loseUnlessCompleted(deps, claim);
    if (failure?.kind === 'invalid_part' || failure?.kind === 'part_too_small') {
      await requireEqual(deps, claim, recorded, listed);
      await requireOnRecord(deps, claim, parts, listed);
      if (!isUncertain) return refuse(deps, claim, toUploadError(failure));
    }
    const isRefused = failure?.kind === 'refused' || failure?.kind === 'full';
    if (isRefused && !isUncertain) return refuse(deps, claim, toUploadError(failure));
    isUncertain ||= !isRefused;
    if (attempt === tries) {
      throw failure === undefined || failure.kind === 'no_such_upload'
        ? new UploadError('store_unavailable', 'The store has not confirmed the object yet.', { retryAfterSeconds: 2 })
        : toUploadError(failure);
    }
    await deps.clock.sleep(pauseMs * attempt, claim.options.signal);
  }
}

async function askForProof(deps: Deps, { upload, options }: HeldClaim): Promise<string | undefined> {
  try {
    return await provenEtag(deps, upload, options);
  } catch (error) {
    throw toUploadError(error);
  }
}

/** The store's list, or `undefined` when it does not know the upload. */
async function listAtStore(deps: Deps, claim: HeldClaim): Promise<StoredPart[] | undefined> {
  try {
    return await tellingFaults(deps, 'listParts', claim.upload.id, () =>
      Array.fromAsync(deps.store.listParts(multipartOf(claim.upload), claim.options)),
    );
  } catch (error) {
    if (error instanceof StoreError && error.kind === 'no_such_upload') return undefined;
    throw toUploadError(error);
  }
}

async function finish(deps: Deps, claim: HeldClaim, etag: string): Promise<Upload> {
  const completed = await deps.records.finishCompletion({
    id: claim.upload.id,
    claimId: claim.claimId,
    etag,
    ...retentionOf(deps, claim.upload),
  });
  if (completed !== undefined) {
    deps.events.emit({ type: 'upload_completed', upload: completed });
    return completed;
  }
  for (let look = 1; look <= 5; look++) {
    const now = await deps.records.find(claim.upload.tenant, claim.upload.id);
    if (now?.state === 'completed') return now;
    await deps.clock.sleep(200, deps.halted);
  }
  throw new UploadError('busy', 'The upload is being completed elsewhere. Try again.', { retryAfterSeconds: 1 });
}

/** What only serves another upload takes room at the store, and is used soon or never. */
const stagedRetentionMs = 24 * 60 * 60 * 1000;

function retentionOf({ settings }: Deps, upload: Upload): { retentionMs: number; isStaged: boolean } {
  return isStaged(upload, settings)
    ? { retentionMs: Math.min(settings.retentionMs, stagedRetentionMs), isStaged: true }
    : { retentionMs: settings.retentionMs, isStaged: false };
}

async function refuse(deps: Deps, claim: HeldClaim, error: unknown, forget: readonly number[] = []): Promise<never> {
  await deps.records.reopen({ id: claim.upload.id, claimId: claim.claimId, forget });
  throw error;
}

/**
 * The store knows the upload no longer. It may have become an object between our HEAD and our ListParts, so the
 * object is looked for again before the upload ends as lost.
 */
async function loseUnlessCompleted(deps: Deps, claim: HeldClaim): Promise<Upload> {
  for (let look = 1; look <= 2; look++) {
    const etag = await askForProof(deps, claim);
    if (etag !== undefined) return finish(deps, claim, etag);
    await deps.clock.sleep(pauseMs, claim.options.signal);
  }
  const lost = await deps.records.finishAbort({
    id: claim.upload.id,
    claimId: claim.claimId,
    retentionMs: deps.settings.retentionMs,
    reason: 'lost',
  });
  if (lost !== undefined) deps.events.emit({ type: 'upload_aborted', upload: lost });
  throw goneError('lost');
}

/** A hole is never completed over, whatever was taken out of the record since the claim. */
async function requireCoverage(deps: Deps, claim: HeldClaim, parts: readonly Part[]): Promise<void> {
  const sizeBytes = parts.reduce((sum, part) => sum + part.sizeBytes, 0);
  const isContiguous = parts.every(({ partNumber }, index) => partNumber === index + 1);
  if (isContiguous && sizeBytes === claim.upload.sizeBytes) return requireOffsets(deps, claim, parts);
  await refuse(deps, claim, new UploadError('incomplete', 'Bytes are missing; list the parts to see.'));
}

/** In the free layout an offset is what its client stated, and it has to be true. */
async function requireOffsets(deps: Deps, claim: HeldClaim, parts: readonly Part[]): Promise<void> {
  let end = 0;
  for (const { partNumber, offset, sizeBytes } of parts) {
    if (offset !== undefined && offset !== end) {
      await refuse(
        deps,
        claim,
        new UploadError(
          'state_conflict',
          `Part ${partNumber} was stated to begin at ${offset}, but begins at ${end}.`,
          {
            details: { partNumber, offset: end },
          },
        ),
      );
    }
    end += sizeBytes;
  }
}

async function requireSizes(deps: Deps, claim: HeldClaim, parts: readonly Part[]): Promise<void> {
  const { minPartSizeBytes } = deps.store.limits;
  const small = parts.slice(0, -1).filter(({ sizeBytes }) => sizeBytes < minPartSizeBytes);
  if (small.length === 0) return;
  await refuse(
    deps,
    claim,
    new UploadError('part_size_mismatch', `Only the last part may have fewer than ${minPartSizeBytes} bytes.`, {
      details: { minPartSize: minPartSizeBytes, partNumbers: small.slice(0, 1000).map(({ partNumber }) => partNumber) },
    }),
  );
}

/** Parts that the store does not hold as recorded are taken out of the record, and the client told to send them. */
async function requireEqual(
  deps: Deps,
  claim: HeldClaim,
  parts: readonly Part[],
  stored: readonly StoredPart[],
): Promise<void> {
  const byNumber = new Map(stored.map((part) => [part.partNumber, part]));
  const wrong = parts.filter(({ partNumber, etag, sizeBytes }) => {
    const found = byNumber.get(partNumber);
    return found === undefined || !isSameEtag(found.etag, etag) || found.sizeBytes !== sizeBytes;
  });
  if (wrong.length === 0) return;
  for (const { partNumber } of wrong) deps.events.emit({ type: 'part_differs', uploadId: claim.upload.id, partNumber });
  await refuse(
    deps,
    claim,
    new UploadError('incomplete', 'The store does not hold these parts as they were recorded. Send them again.', {
      details: {
        missing: wrong
          .slice(0, 1000)
          .map(({ partNumber, offset, sizeBytes }) => ({ partNumber, offset, size: sizeBytes })),
      },
    }),
    wrong.map(({ partNumber }) => partNumber),
  );
}

/**
 * Some stores (Ceph RGW) complete no upload of which they hold a part that is not named: one that was sent by a signed
 * URL and not reported, or that its size shut out after it was stored. An earlier Complete whose fate is unknown named the
 * same parts and is refused likewise, so the upload can be open again at once.
 */
async function requireOnRecord(
  deps: Deps,
  claim: HeldClaim,
  parts: readonly ListedPart[],
  stored: readonly StoredPart[],
): Promise<void> {
  const named = new Set(parts.map(({ partNumber }) => partNumber));
  const unlisted = stored.map(({ partNumber }) => partNumber).filter((partNumber) => !named.has(partNumber));
  if (unlisted.length === 0) return;
  await refuse(
    deps,
    claim,
    new UploadError(
      'state_conflict',
      'The store holds parts that are not on record, and does not complete the upload without them. Report them, or abort the upload and start over.',
      { details: { unlisted: unlisted.slice(0, 1000) } },
    ),
  );
}

/** S3 completes no upload without a part: an empty object is one empty part. `undefined`: the upload is not there. */
async function putEmptyPart(deps: Deps, claim: HeldClaim): Promise<readonly ListedPart[] | undefined> {
  try {
    const { etag } = await tellingFaults(deps, 'uploadPart', claim.upload.id, () =>
      deps.store.uploadPart(
        { ...multipartOf(claim.upload), partNumber: 1, body: Buffer.alloc(0), sizeBytes: 0 },
        claim.options,
      ),
    );
    return [{ partNumber: 1, etag }];
  } catch (error) {
    if (error instanceof StoreError && error.kind === 'no_such_upload') return undefined;
    throw toUploadError(error);
  }
}
