import { claimOf } from './claim.ts';
import { composeCovered } from './compose-covered.ts';
import type { Deps } from './deps.ts';
import { combinableAlgorithms, isCombinable } from './digest.ts';
import { UploadError } from './errors.ts';
import { unquoted } from './etag.ts';
import { findUpload, notOpen, requireOwnBytes } from './find.ts';
import { finishCompletion } from './finish-completion.ts';
import { disputedError } from './is-whole.ts';
import { missingParts } from './list-parts.ts';
import { partsOf } from './parts-of.ts';
import type { Principal } from './principal.ts';
import type { Upload } from './upload.ts';
import { faultOfWhole } from './whole-digest.ts';

export interface CompleteInput {
  readonly principal: Principal;
  readonly uploadId: string;
  /** The parts as the client knows them; must be those on record. ETags with or without quotes. */
  readonly parts?: readonly { readonly partNumber: number; readonly etag: string }[] | undefined;
  readonly sizeBytes?: number | undefined;
  readonly digest?: Upload['digest'];
  /** No client has asked for it: not where its bytes are disputed, or may be in a moment. */
  readonly byItself?: boolean | undefined;
}

/** `pending`: it goes on elsewhere, longer than this call waits. */
export type CompleteOutcome =
  | { readonly kind: 'completed'; readonly upload: Upload }
  | { readonly kind: 'pending'; readonly upload: Upload; readonly retryAfterSeconds: number };

const firstPollMs = 100;
const slowestPollMs = 1000;
const listedMissing = 1000;

/**
 * Makes the object. Idempotent: a repeat gets the same answer, and one that runs elsewhere is waited for.
 * @throws UploadError `incomplete` with what is missing, `digest_mismatch`, `upload_gone`, `store_*`, …
 */
export async function completeUpload(deps: Deps, input: CompleteInput): Promise<CompleteOutcome> {
  requireCheckable(input.digest);
  const giveUpAt = deps.clock.now().getTime() + deps.settings.completeWaitMs;
  let pollMs = firstPollMs;
  for (;;) {
    await deps.compositions.whenComposed(input.uploadId);
    const upload = await findUpload(deps, input.principal, input.uploadId);
    const outcome = await step(deps, upload, input);
    if (outcome === 'again') continue;
    if (outcome !== 'wait') {
      await requireSame(deps, outcome, input);
      return { kind: 'completed', upload: outcome };
    }
    if (deps.clock.now().getTime() + pollMs > giveUpAt) {
      if (upload.state === 'completing') return { kind: 'pending', upload, retryAfterSeconds: 2 };
      throw new UploadError('busy', 'A part of it, or another upload to its key, is not settled yet. Try again.', {
        retryAfterSeconds: 2,
      });
    }
    if (await deps.records.endDeadLeases(upload.id)) continue;
    await deps.clock.sleep(pollMs, deps.halted);
    pollMs = Math.min(pollMs * 2, slowestPollMs);
  }
}

async function step(deps: Deps, upload: Upload, input: CompleteInput): Promise<Upload | 'wait' | 'again'> {
  switch (upload.state) {
    case 'completed':
      return upload;
    case 'creating':
      return 'wait';
    case 'completing':
      return takeOver(deps, upload);
    case 'open':
      return claimAndFinish(deps, upload, input);
    case 'aborting':
    case 'aborted':
    case 'deleted':
      throw notOpen(upload);
  }
}

async function claimAndFinish(deps: Deps, upload: Upload, input: CompleteInput): Promise<Upload | 'wait' | 'again'> {
  // What is stored of it so far is not the whole, whoever says so.
  if (upload.sizeBytes === undefined) requireOwnBytes(upload);
  await requireSame(deps, upload, input);
  const claimId = deps.newLeaseId();
  const claim = await deps.records.claimCompletion({
    id: upload.id,
    claimId,
    leaseMs: deps.settings.leaseMs,
    sizeBytes: input.sizeBytes,
    digest: input.digest,
    byItself: input.byItself,
  });
  switch (claim.kind) {
    case 'claimed':
      return finishCompletion(deps, claimOf(claim.upload, claimId), {
        takenOver: false,
        doubtful: claim.doubtful,
      });
    case 'uncomposed':
      return (await composeWhole(deps, claim.upload)) > 0 ? 'again' : 'wait';
    case 'disputed':
      throw disputedError(claim.upload);
    case 'incomplete':
      throw await incompleteError(deps, claim.upload, input.sizeBytes);
    case 'busy':
    case 'not_open':
      return 'wait';
  }
}

/** Where the size was unknown, what is stored is the whole: only then the last slot is known to be covered. */
async function composeWhole(deps: Deps, upload: Upload): Promise<number> {
  if (upload.sizeBytes !== undefined) return composeCovered(deps, upload);
  const told = await deps.records.tellSize(upload.id, upload.receivedBytes);
  return told.upload === undefined ? 0 : composeCovered(deps, told.upload);
}

/** Goes on with a completion whose owner died; while the owner lives there is only waiting. */
async function takeOver(deps: Deps, upload: Upload): Promise<Upload | 'wait'> {
  const claimId = deps.newLeaseId();
  const taken = await deps.records.takeClaim({ id: upload.id, claimId, leaseMs: deps.settings.leaseMs });
  if (taken === undefined) return 'wait';
  if (taken.state !== 'completing') {
    await deps.records.releaseClaim({ id: taken.id, claimId });
    return 'wait';
  }
  return finishCompletion(deps, claimOf(taken, claimId), { takenOver: true, doubtful: true });
}

function requireCheckable(digest: Upload['digest']): void {
  if (digest === undefined || isCombinable(digest.algorithm)) return;
  throw new UploadError(
    'invalid_request',
    `The digest of the whole can be checked for ${combinableAlgorithms.join(' and ')} only.`,
    { details: { field: 'digest', algorithms: combinableAlgorithms } },
  );
}

/** What the client believes of the upload is what is on record. */
async function requireSame(deps: Deps, upload: Upload, input: CompleteInput): Promise<void> {
  requireSameSize(upload, input.sizeBytes);
  await requireSameDigest(deps, upload, input.digest);
  if (input.parts === undefined) return;
  const recorded = new Map((await partsOf(deps, upload.id)).map((part) => [part.partNumber, unquoted(part.etag)]));
  const differing = input.parts.filter(({ partNumber, etag }) => recorded.get(partNumber) !== unquoted(etag));
  const named = new Set(input.parts.map(({ partNumber }) => partNumber));
  const unnamed = [...recorded.keys()].filter((partNumber) => !named.has(partNumber));
  if (differing.length === 0 && unnamed.length === 0) return;
  throw new UploadError('state_conflict', 'The parts named are not those on record; list them to see.', {
    details: {
      differing: differing.slice(0, listedMissing).map(({ partNumber }) => partNumber),
      unnamed: unnamed.slice(0, listedMissing),
    },
  });
}

function requireSameSize({ sizeBytes, receivedBytes }: Upload, expectedBytes: number | undefined): void {
  if (expectedBytes === undefined) return;
  const differs = sizeBytes === undefined ? expectedBytes < receivedBytes : expectedBytes !== sizeBytes;
  if (!differs) return;
  throw new UploadError('state_conflict', `The upload's size is ${sizeBytes ?? receivedBytes}, not ${expectedBytes}.`, {
    details: { expectedSize: sizeBytes ?? receivedBytes },
  });
}

async function requireSameDigest(deps: Deps, upload: Upload, expected: Upload['digest']): Promise<void> {
  if (expected === undefined) return;
  const { digest, state } = upload;
  if (digest !== undefined && digest.algorithm !== expected.algorithm) {
    throw new UploadError(
      'state_conflict',
      `The upload declares its ${digest.algorithm}, not its ${expected.algorithm}.`,
    );
  }
  if (digest !== undefined && digest.value !== expected.value) {
    throw new UploadError(
      'digest_mismatch',
      `The upload's ${digest.algorithm} is ${digest.value}, not ${expected.value}.`,
      {
        details: { algorithm: digest.algorithm, expected: expected.value, actual: digest.value },
      },
    );
  }
  if (digest !== undefined || state !== 'completed') return;
  const fault = faultOfWhole(await partsOf(deps, upload.id), expected);
  if (fault !== undefined) throw fault;
}

async function incompleteError(deps: Deps, upload: Upload, expectedBytes: number | undefined): Promise<UploadError> {
  const { receivedBytes } = upload;
  const sizeBytes = upload.sizeBytes ?? expectedBytes;
  const missing = await missingParts(deps, { ...upload, sizeBytes }, listedMissing);
  return new UploadError(
    'incomplete',
    sizeBytes === undefined && receivedBytes === 0
      ? 'Nothing is stored yet. To make an empty object say "size": 0.'
      : `${receivedBytes} bytes are stored${sizeBytes === undefined ? ', with a gap' : ` of ${sizeBytes}`}.`,
    {
      details: {
        receivedBytes,
        ...(sizeBytes === undefined ? {} : { expectedSize: sizeBytes }),
        missing: missing.map(({ partNumber, offset, sizeBytes: size }) => ({ partNumber, offset, size })),
      },
    },
  );
}
