import type { Readable } from 'node:stream';
import type { Deps } from './deps.ts';
import { type DigestAlgorithm, type Digests, isCombinable, type RunningDigest, startDigest } from './digest.ts';
import { UploadError } from './errors.ts';
import { findUpload, notOpen, type OpenUpload, requireOpen } from './find.ts';
import { type PlannedLayout, rangeOf } from './layout.ts';
import { DisplacedError } from './live-attempts.ts';
import { loseUpload } from './lose.ts';
import { type AttemptAddress, StoreError } from './ports.ts';
import type { Principal } from './principal.ts';
import { newId } from './random.ts';
import { receive } from './receive.ts';
import { callStore, toUploadError } from './store-faults.ts';
import type { Part } from './upload.ts';

export interface PutPartInput {
  readonly principal: Principal;
  readonly uploadId: string;
  readonly partNumber: number;
  readonly sizeBytes: number;
  /** Digests that the client states, base64: the part is stored only if they are true. */
  readonly digests: Digests;
  /** Where the part begins, as the client says; the free layout only records it. */
  readonly offset?: number | undefined;
  /** Called once, when the part is wanted: until then the client need not send it. */
  readonly body: () => Readable;
}

/**
 * Stores one whole part: piped straight through, all or nothing, and recorded before it is acknowledged.
 * The newest request for a part displaces an older one until the older one's last byte is on its way.
 * @throws UploadError; ClientGoneError when the body broke off
 */
export async function putPart(deps: Deps, input: PutPartInput): Promise<Part> {
  const upload = requireOpen(await findUpload(deps, input.principal, input.uploadId));
  const place = placeOfPart(deps, upload, input);
  const known = await alreadyStored(deps, upload, input);
  if (known !== undefined) {
    await receive(deps, {
      body: input.body(),
      sizeBytes: input.sizeBytes,
      digests: startAll(input.digests),
      beforeLast: (values) => verify(input.digests, values),
    });
    return known;
  }
  if (place.fixesSize) await requireNothingAfter(deps, upload, input.partNumber);
  const attempt = { uploadId: upload.id, partNumber: input.partNumber, attemptId: newId() };
  await begin(deps, upload, attempt);
  const { etag, digests } = await sendToStore(deps, upload, attempt, input);
  const part: Part = { partNumber: input.partNumber, offset: place.offset, sizeBytes: input.sizeBytes, etag, digests };
  await commit(deps, attempt, part, place.fixesSize);
  deps.events.emit({
    type: 'part_stored',
    uploadId: upload.id,
    partNumber: part.partNumber,
    sizeBytes: part.sizeBytes,
  });
  return part;
}

interface Place {
  readonly offset: number | undefined;
  /** Shorter than its slot while the upload's size is unknown: the last part. */
  readonly fixesSize: boolean;
}

function placeOfPart(deps: Deps, upload: OpenUpload, input: PutPartInput): Place {
  const { limits } = deps.store;
  if (input.partNumber < 1 || input.partNumber > limits.maxParts) {
    throw new UploadError('limit_exceeded', `Part numbers run from 1 to ${limits.maxParts}.`, {
      details: { maxParts: limits.maxParts },
    });
  }
  if (input.sizeBytes > limits.maxPartSizeBytes) {
    throw new UploadError('limit_exceeded', `A part may have ${limits.maxPartSizeBytes} bytes at most.`, {
      details: { maxPartSize: limits.maxPartSizeBytes },
    });
  }
  const place = upload.layout.kind === 'free' ? freePlace(input) : plannedPlace(upload, upload.layout, input);
  const end = Math.max((place.offset ?? 0) + input.sizeBytes, upload.layout.kind === 'free' ? upload.receivedBytes : 0);
  if (end > deps.settings.maxSizeBytes) {
    throw new UploadError('limit_exceeded', `Uploads may have ${deps.settings.maxSizeBytes} bytes at most.`, {
      details: { maxSize: deps.settings.maxSizeBytes },
    });
  }
  return place;
}

function freePlace({ offset, sizeBytes, partNumber }: PutPartInput): Place {
  if (sizeBytes === 0 && partNumber > 1) throw sizeMismatch('An empty part can only be the first.', {});
  return { offset, fixesSize: false };
}

function plannedPlace(upload: OpenUpload, layout: PlannedLayout, input: PutPartInput): Place {
  const slot = rangeOf(layout, input.partNumber, upload.sizeBytes);
  if (slot === undefined) {
    throw new UploadError('limit_exceeded', `The upload ends before part ${input.partNumber}.`, {
      details: { size: upload.sizeBytes },
    });
  }
  if (input.offset !== undefined && input.offset !== slot.offset) {
    throw sizeMismatch(`Part ${slot.partNumber} begins at ${slot.offset}.`, {
      offset: slot.offset,
      size: slot.sizeBytes,
    });
  }
  if (input.sizeBytes === slot.sizeBytes) return { offset: slot.offset, fixesSize: false };
  const mayBeLast = upload.sizeBytes === undefined && input.sizeBytes < slot.sizeBytes;
  if (mayBeLast && (input.sizeBytes > 0 || slot.partNumber === 1)) return { offset: slot.offset, fixesSize: true };
  throw sizeMismatch(
    mayBeLast
      ? 'A last part has at least one byte: complete the upload instead.'
      : `Part ${slot.partNumber} has ${slot.sizeBytes} bytes from ${slot.offset}, not ${input.sizeBytes}.`,
    { offset: slot.offset, size: slot.sizeBytes },
  );
}

function sizeMismatch(message: string, details: Record<string, unknown>): UploadError {
  return new UploadError('part_size_mismatch', message, { details });
}

/** Before the store is called: a part that is stored but never listed makes some stores refuse to complete. */
async function requireNothingAfter(deps: Deps, upload: OpenUpload, partNumber: number): Promise<void> {
  const later = await deps.records.listParts(upload.id, { after: partNumber, limit: 1 });
  if (later.length > 0) throw laterBytesError();
}

function laterBytesError(): UploadError {
  return new UploadError('state_conflict', 'A part this short would be the last, but later bytes are stored.');
}

/** A part on record whose content is known to be what the client now states. */
async function alreadyStored(deps: Deps, upload: OpenUpload, input: PutPartInput): Promise<Part | undefined> {
  if (Object.keys(input.digests).length === 0) return undefined;
  const part = await deps.records.findPart(upload.id, input.partNumber);
  if (part?.sizeBytes !== input.sizeBytes) return undefined;
  const same = Object.entries(input.digests).some(
    ([algorithm, value]) => part.digests[algorithm as DigestAlgorithm] === value,
  );
  return same ? part : undefined;
}

async function begin(deps: Deps, upload: OpenUpload, attempt: AttemptAddress): Promise<void> {
  const begun = await deps.records.beginAttempt({ ...attempt, leaseMs: deps.settings.leaseMs });
  if (begun.kind === 'begun') return;
  if (begun.kind === 'busy') {
    throw new UploadError('busy', 'The store is confirming an earlier request for this part. Try again.', {
      retryAfterSeconds: Math.min(2, Math.max(1, Math.ceil(begun.retryAfterMs / 1000))),
    });
  }
  throw await noLongerOpen(deps, upload.tenant, upload.id);
}

async function noLongerOpen(deps: Deps, tenant: string, id: string): Promise<UploadError> {
  const now = await deps.records.find(tenant, id);
  return now === undefined ? new UploadError('upload_not_found', 'There is no such upload.') : notOpen(now);
}

/** The body's way to the store, under the lease of its attempt. Ends the attempt when it fails. */
async function sendToStore(
  deps: Deps,
  upload: OpenUpload,
  attempt: AttemptAddress,
  input: PutPartInput,
): Promise<{ etag: string; digests: Digests }> {
  const { leaseMs } = deps.settings;
  const forwardsMd5 = deps.store.capabilities.verifies.has('md5') ? input.digests.md5 : undefined;
  let computed: Digests = {};
  let confirmed = false;
  const displaced = new AbortController();
  const live = deps.attempts.begin(attempt, (reason) => displaced.abort(reason));
  const stopRenewing = deps.clock.every(leaseMs / 3, () => {
    deps.records.renewAttempt({ ...attempt, leaseMs }).then(
      (held) => held || confirmed || displaced.abort(new DisplacedError()),
      () => undefined,
    );
  });
  try {
    const { etag } = await receive(deps, {
      body: input.body(),
      sizeBytes: input.sizeBytes,
      digests: digestsToCompute(upload, input.digests, forwardsMd5 !== undefined),
      stop: displaced.signal,
      beforeLast: async (values) => {
        verify(input.digests, values);
        computed = values;
        if (!(await deps.records.confirmAttempt({ ...attempt, leaseMs }))) throw new DisplacedError();
        confirmed = true;
      },
      send: (body, signal) =>
        callStore(deps, 'uploadPart', upload.id, () =>
          deps.store.uploadPart(
            {
              bucket: upload.bucket,
              key: upload.storeKey,
              storeUploadId: upload.storeUploadId,
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
  } catch (error) {
    await settleFailure(deps, upload, attempt, { error, confirmed });
    throw error instanceof DisplacedError
      ? new UploadError('busy', 'A newer request for this part has taken over.', { retryAfterSeconds: 1, cause: error })
      : toUploadError(error);
  } finally {
    stopRenewing();
    live.end();
  }
}

/** Frees the slot at once, and remembers where the store may still be at work. */
async function settleFailure(
  deps: Deps,
  upload: OpenUpload,
  attempt: AttemptAddress,
  { error, confirmed }: { error: unknown; confirmed: boolean },
): Promise<void> {
  const refused = error instanceof StoreError && error.kind !== 'unavailable';
  await deps.records.dropAttempt({ ...attempt, uncertain: confirmed && !refused }).catch(() => undefined);
  if (error instanceof StoreError && error.kind === 'no_such_upload') await loseUpload(deps, upload);
}

function digestsToCompute(upload: OpenUpload, stated: Digests, md5IsForwarded: boolean): RunningDigest[] {
  const digests = startAll(stated).filter(({ algorithm }) => !(algorithm === 'md5' && md5IsForwarded));
  const whole = upload.digest?.algorithm;
  if (whole !== undefined && isCombinable(whole) && !digests.some(({ algorithm }) => algorithm === whole)) {
    digests.push(startDigest(whole));
  }
  return digests;
}

function startAll(stated: Digests): RunningDigest[] {
  return (Object.keys(stated) as DigestAlgorithm[]).map(startDigest);
}

/** @throws UploadError `digest_mismatch` */
function verify(stated: Digests, computed: Digests): void {
  for (const [algorithm, value] of Object.entries(computed)) {
    const wanted = stated[algorithm as DigestAlgorithm];
    if (wanted !== undefined && wanted !== value) {
      throw new UploadError('digest_mismatch', `The body's ${algorithm} is not the one stated. Nothing was stored.`, {
        details: { algorithm },
      });
    }
  }
}

/** Commits the part, or says why it does not count. */
async function commit(deps: Deps, attempt: AttemptAddress, part: Part, fixesSize: boolean): Promise<void> {
  const { uploadId, attemptId } = attempt;
  const committed = await deps.records.commitPart({ uploadId, attemptId, part, fixesSize });
  if (committed.kind === 'committed') return;
  await deps.records.dropAttempt({ ...attempt, uncertain: true }).catch(() => undefined);
  switch (committed.kind) {
    case 'displaced':
      throw new UploadError('busy', 'A newer request for this part has taken over.', { retryAfterSeconds: 1 });
    case 'size_conflict':
      throw laterBytesError();
    case 'not_open':
      throw committed.upload === undefined
        ? new UploadError('upload_not_found', 'There is no such upload.')
        : notOpen(committed.upload);
  }
}
