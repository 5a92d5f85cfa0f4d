import type { Readable } from 'node:stream';
import type { Deps } from './deps.ts';
import { type DigestAlgorithm, type Digests, type RunningDigest, startDigest } from './digest.ts';
import { UploadError } from './errors.ts';
import { findUpload, multipartOf, notOpen, type OpenUpload, requireOwnBytes } from './find.ts';
import { type HeldSlot, holdSlot } from './hold-slot.ts';
import { carriesMd5, keptDigests } from './kept-digests.ts';
import { type LeasedSlot, leaseSlot } from './lease-slot.ts';
import { DisplacedError, type LiveAttempt } from './live-attempts.ts';
import { isUnknownUpload, loseUpload, movedOnError } from './lose.ts';
import { beyondSizeError, laterBytesError, placeOfPart, requireLimits } from './place-part.ts';
import type { Principal } from './principal.ts';
import { receive } from './receive.ts';
import { requireTrue } from './stated-digests.ts';
import { tellingFaults, toUploadError } from './store-faults.ts';
import type { Part } from './upload.ts';
import type { AttemptAddress } from './upload-records.ts';

export interface PutPartInput {
  readonly principal: Principal;
  readonly uploadId: string;
  readonly partNumber: number;
  readonly sizeBytes: number;
  /** Digests that the client states, base64: the part is stored only if they are true. */
  readonly digests: Digests;
  /** Where the part begins, as the client says; the free layout only records it. */
  readonly offset?: number | undefined;
  /** The whole upload's size, as the client says. */
  readonly totalBytes?: number | undefined;
  /** Called once, when the part is wanted: until then the client need not send it. */
  readonly body: () => Readable;
  /** Nobody else holds the body's buffers: they are empty once they have been sent. */
  readonly ownsBuffers?: boolean | undefined;
  /** Its bytes are those of the uploads that this one is put together of, which takes no others. */
  readonly isOfSources?: boolean | undefined;
}

/**
 * Stores one whole part: piped straight through, all or nothing, and recorded before it is acknowledged.
 * The newest request for a part displaces an older one until the older one's last byte is on its way.
 * @throws UploadError; ClientGoneError when the body broke off
 */
export async function putPart(deps: Deps, input: PutPartInput): Promise<Part> {
  requireLimits(deps.store.limits, input);
  const attempt = { uploadId: input.uploadId, partNumber: input.partNumber, attemptId: deps.newLeaseId() };
  const slot = await leaseSlot(deps, input.principal, attempt, (upload, part) => {
    if (!input.isOfSources) requireOwnBytes(upload);
    placeOfPart(upload, part, input, deps.settings);
  });
  const held = holdSlot(deps, attempt, slot.heldUntilMs);
  try {
    if (isKnownSame(slot.part, input)) return await acknowledgeAgain(deps, attempt, held.live, input, slot.part);
    return await storePart(deps, attempt, held.live, input, slot);
  } catch (error) {
    await settleFailure(deps, held, slot.upload, error);
    throw await explain(deps, input, error);
  } finally {
    held.end();
  }
}

async function storePart(
  deps: Deps,
  attempt: AttemptAddress,
  live: LiveAttempt,
  input: PutPartInput,
  { upload, part: earlier }: LeasedSlot,
): Promise<Part> {
  const { offset, fixesSize } = placeOfPart(upload, earlier, input, deps.settings);
  if (fixesSize) await requireNothingAfter(deps, upload, input.partNumber);
  const { etag, digests } = await sendToStore(deps, live, input, upload);
  const part: Part = { partNumber: input.partNumber, offset, sizeBytes: input.sizeBytes, etag, digests };
  // It may take the place of bytes that a running MD5 has seen.
  if (carriesMd5(upload)) await deps.records.dropDigestChain(upload.id);
  await commitPart(deps, attempt, input, part, fixesSize);
  deps.events.emit({
    type: 'part_stored',
    uploadId: upload.id,
    partNumber: part.partNumber,
    sizeBytes: part.sizeBytes,
  });
  return part;
}

/** Before the store is called: a part that is stored but never listed makes some stores refuse to complete. */
async function requireNothingAfter(deps: Deps, upload: OpenUpload, partNumber: number): Promise<void> {
  const later = await deps.records.listParts(upload.id, { after: partNumber, limit: 1 });
  if (later.length > 0) throw laterBytesError();
}

/** Whether the part on record is known to have the content that the client now states. */
function isKnownSame(part: Part | undefined, { sizeBytes, digests }: PutPartInput): part is Part {
  if (part?.sizeBytes !== sizeBytes || part.isDoubtful) return false;
  const shared = (Object.keys(digests) as DigestAlgorithm[]).filter(
    (algorithm) => part.digests[algorithm] !== undefined,
  );
  return shared.length > 0 && shared.every((algorithm) => part.digests[algorithm] === digests[algorithm]);
}

/** Reads the body to its end and holds it to its word, without a call to the store: some lose a part on replacing it. */
async function acknowledgeAgain(
  deps: Deps,
  attempt: AttemptAddress,
  live: LiveAttempt,
  input: PutPartInput,
  part: Part,
): Promise<Part> {
  await receive(deps, {
    body: input.body(),
    sizeBytes: input.sizeBytes,
    digests: startAll(input.digests),
    stop: live.signal,
    beforeLast: (values) => requireTrue(input.digests, values),
  });
  // Fenced as any other: the part may have been taken out of the record while the body came.
  await commitPart(deps, attempt, input, part, false);
  return part;
}

/** The body's way to the store. The last buffer goes only while the digests are true and the lease holds. */
async function sendToStore(
  deps: Deps,
  live: LiveAttempt,
  input: PutPartInput,
  upload: OpenUpload,
): Promise<{ etag: string; digests: Digests }> {
  const forwardsMd5 = deps.store.capabilities.verifies.has('md5') ? input.digests.md5 : undefined;
  let computed: Digests = {};
  const { etag } = await receive(deps, {
    body: input.body(),
    ownsBuffers: input.ownsBuffers,
    sizeBytes: input.sizeBytes,
    digests: digestsToCompute(upload, input.digests, forwardsMd5 !== undefined),
    stop: live.signal,
    beforeLast: (values) => {
      requireTrue(input.digests, values);
      computed = values;
      live.seal();
    },
    send: (body, signal) =>
      tellingFaults(deps, 'uploadPart', upload.id, () =>
        deps.store.uploadPart(
          {
            ...multipartOf(upload),
            partNumber: input.partNumber,
            body,
            sizeBytes: input.sizeBytes,
            contentMd5: forwardsMd5,
          },
          { signal },
        ),
      ),
  });
  return { etag, digests: { ...computed, ...(forwardsMd5 === undefined ? {} : { md5: forwardsMd5 }) } };
}

/** The part will not count. */
export async function settleFailure(deps: Deps, held: HeldSlot, upload: OpenUpload, error: unknown): Promise<void> {
  await held.giveBack(error);
  if (isUnknownUpload(error)) await loseUpload(deps, upload);
}

/** An attempt that lost its slot or its upload is told by the upload's state why. */
async function explain(deps: Deps, { principal, uploadId }: PutPartInput, error: unknown): Promise<unknown> {
  const displaced = error instanceof DisplacedError;
  if (!displaced && !isUnknownUpload(error)) return toUploadError(error);
  const upload = await findUpload(deps, principal, uploadId);
  if (upload.state !== 'open') return notOpen(upload);
  return displaced
    ? new UploadError('busy', 'A newer request for this part has taken over.', { retryAfterSeconds: 1, cause: error })
    : movedOnError(error);
}

function digestsToCompute(upload: OpenUpload, stated: Digests, md5IsForwarded: boolean): RunningDigest[] {
  const digests = startAll(stated).filter(({ algorithm }) => !(algorithm === 'md5' && md5IsForwarded));
  for (const algorithm of keptDigests(upload)) {
    if (!digests.some((digest) => digest.algorithm === algorithm)) digests.push(startDigest(algorithm));
  }
  return digests;
}

function startAll(stated: Digests): RunningDigest[] {
  return (Object.keys(stated) as DigestAlgorithm[]).map(startDigest);
}

/** Commits the part, or says why it does not count. @throws UploadError, DisplacedError */
export async function commitPart(
  deps: Deps,
  { uploadId, attemptId }: AttemptAddress,
  { principal }: { readonly principal: Principal },
  part: Part,
  fixesSize: boolean,
): Promise<void> {
  const committed = await deps.records.commitPart({ uploadId, attemptId, part, fixesSize });
  switch (committed.kind) {
    case 'committed':
      return;
    case 'displaced':
      throw new DisplacedError();
    case 'size_conflict':
      throw fixesSize ? laterBytesError() : beyondSizeError();
    case 'not_open':
      throw notOpen(await findUpload(deps, principal, uploadId));
  }
}
