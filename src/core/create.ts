import { createHash } from 'node:crypto';
import type { Deps } from './deps.ts';
import { combinableAlgorithms, type DigestAlgorithm, isCombinable } from './digest.ts';
import { UploadError } from './errors.ts';
import { multipartOf } from './find.ts';
import { expandKeyTemplate } from './key-template.ts';
import { type Layout, planLayout } from './layout.ts';
import { placeOf, requireContentType, requireMetadata, requireSize, stagedPlaceOf } from './limits.ts';
import { type CallOptions, StoreError } from './object-store.ts';
import { mayUse, type Principal } from './principal.ts';
import { newId } from './random.ts';
import { tellingFaults, toUploadError } from './store-faults.ts';
import type { Protocol, Upload } from './upload.ts';
import type { NewUpload } from './upload-records.ts';

export interface CreateInput {
  readonly principal: Principal;
  readonly protocol: Protocol;
  /** As the client names it, without its tenant's prefix; the key template names it where unset. */
  readonly key?: string | undefined;
  readonly bucket?: string | undefined;
  readonly sizeBytes?: number | undefined;
  /** `undecided`: planned, by the first write. */
  readonly layout?: 'planned' | 'free' | 'undecided' | undefined;
  readonly partSizeBytes?: number | undefined;
  readonly contentType?: string | undefined;
  readonly metadata?: Readonly<Record<string, string>> | undefined;
  /** The digest of the whole; checked before the upload completes. */
  readonly digest?: { readonly algorithm: DigestAlgorithm; readonly value: string } | undefined;
  readonly ifNoneMatch?: boolean | undefined;
  readonly expiresInSeconds?: number | undefined;
  readonly idempotencyKey?: string | undefined;
  /** Completes by itself once every byte is durable. */
  readonly isSelfCompleting?: boolean | undefined;
  /** How many bytes the client sends in each request: the planned layout follows it. */
  readonly chunkSizeBytes?: number | undefined;
  /** SHA-256 of a session's secret, or of the session id that a client sent. */
  readonly sessionHash?: Buffer | undefined;
  /** What the front must give back as it was sent. JSON. */
  readonly front?: Readonly<Record<string, unknown>> | undefined;
  /** Its object becomes a part of another's, and is nobody's to read. */
  readonly isPartial?: boolean | undefined;
  /** The completed uploads of whose objects it is put together. */
  readonly sources?: readonly string[] | undefined;
}

/** The name of the object's metadata entry that says which upload made it. */
export const tokenMetadataName = 'partway-token';

/**
 * Opens an upload: row, multipart upload at the store, row. Under an idempotency key the same input gets the
 * same upload again.
 * @throws UploadError `invalid_request`, `forbidden`, `limit_exceeded`, `idempotency_conflict`, `busy`, `store_*`
 */
export async function createUpload(deps: Deps, input: CreateInput): Promise<Upload> {
  const upload = plan(deps, input);
  const inserted = await deps.records.insert(upload);
  if (inserted.kind === 'existing') return existing(inserted, upload, input.principal);
  const { storeUploadId } = await openAtStore(deps, inserted.upload);
  const opened = await deps.records.open({ id: upload.id, storeUploadId, keepsMs: storeKeepsMs(deps) });
  if (opened === undefined) {
    await abandon(deps, inserted.upload, storeUploadId);
    throw tooSlowError();
  }
  deps.events.emit({ type: 'upload_created', upload: opened });
  return opened;
}

function plan(deps: Deps, input: CreateInput): NewUpload {
  const { principal, protocol, sizeBytes, contentType, metadata = {}, digest, idempotencyKey } = input;
  const { settings } = deps;
  const id = newId();
  const key = input.key ?? nameOf(deps, input, id);
  const place = input.isPartial
    ? stagedPlaceOf({ bucket: input.bucket, id }, principal, settings)
    : placeOf({ bucket: input.bucket, key }, principal, settings);
  if (sizeBytes !== undefined) requireSize(sizeBytes, settings);
  if (contentType !== undefined) requireContentType(contentType);
  requireMetadata(metadata);
  if (digest !== undefined) requireCombinable(digest.algorithm);
  return {
    id,
    tenant: principal.tenant,
    protocol,
    ...place,
    token: newId(),
    sizeBytes,
    layout: layoutOf(deps, input),
    contentType,
    metadata,
    digest,
    ifNoneMatch: input.ifNoneMatch ?? false,
    isSelfCompleting: input.isSelfCompleting ?? false,
    sessionHash: input.sessionHash,
    front: input.front ?? {},
    sources: input.sources,
    idempotency: idempotencyKey === undefined ? undefined : { key: idempotencyKey, requestHash: hashOf(input) },
    lifetimeMs: Math.min(settings.uploadLifetimeMs, (input.expiresInSeconds ?? Number.POSITIVE_INFINITY) * 1000),
    leaseMs: settings.leaseMs,
  };
}

/** Below the prefix that the caller is bound to. */
function nameOf({ settings, clock }: Deps, { principal, metadata }: CreateInput, id: string): string {
  const { tenant, keyPrefix } = principal;
  const values = { tenant, now: clock.now(), id, filename: metadata?.filename };
  return keyPrefix + expandKeyTemplate(settings.keyTemplate, values);
}

function layoutOf(deps: Deps, { layout = 'planned', sizeBytes, partSizeBytes, chunkSizeBytes }: CreateInput): Layout {
  const { limits } = deps.store;
  if (layout === 'planned') return planLayout({ sizeBytes, partSizeBytes, chunkSizeBytes }, limits);
  if (partSizeBytes !== undefined) {
    throw new UploadError(
      'invalid_request',
      'partSize goes with the planned layout: in the free one each part has its own.',
      {
        details: { field: 'partSize' },
      },
    );
  }
  if (sizeBytes !== undefined) planLayout({ sizeBytes }, limits);
  return { kind: layout };
}

function requireCombinable(algorithm: DigestAlgorithm): void {
  if (isCombinable(algorithm)) return;
  throw new UploadError(
    'invalid_request',
    `The digest of the whole can be checked for ${combinableAlgorithms.join(' and ')} only, without reading the object again.`,
    { details: { field: 'digest', algorithms: combinableAlgorithms } },
  );
}

function hashOf({ principal: _, idempotencyKey: __, ...request }: CreateInput): string {
  const canonical = JSON.stringify(request, (_name, value: unknown) =>
    typeof value === 'object' && value !== null && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
      : value,
  );
  return createHash('sha256').update(canonical).digest('hex');
}

function existing(found: { upload: Upload; requestHash: string }, wanted: NewUpload, principal: Principal): Upload {
  if (found.requestHash !== wanted.idempotency?.requestHash || !mayUse(principal, found.upload)) {
    throw new UploadError('idempotency_conflict', 'This Idempotency-Key was used for another request.');
  }
  if (found.upload.state === 'creating') {
    throw new UploadError('busy', 'The first request with this Idempotency-Key is still under way. Try again.', {
      retryAfterSeconds: 1,
    });
  }
  return found.upload;
}

/** Within the lease of the row: after it the reaper closes what nobody could open any more. */
async function openAtStore(deps: Deps, upload: Upload): Promise<{ storeUploadId: string }> {
  const tooLate = AbortSignal.timeout(deps.settings.leaseMs);
  const options = { signal: AbortSignal.any([tooLate, deps.halted]) };
  try {
    await requireAbsent(deps, upload, options);
    return await tellingFaults(deps, 'createMultipartUpload', upload.id, () =>
      deps.store.createMultipartUpload(
        {
          bucket: upload.bucket,
          key: upload.storeKey,
          contentType: upload.contentType,
          metadata: { ...upload.metadata, [tokenMetadataName]: upload.token },
        },
        options,
      ),
    );
  } catch (error) {
    // What an unanswered call may have left has no parts and costs nothing; it can't be told from another
    // application's, so it is not looked for.
    await deps.records.closeUncreated(upload.id);
    throw tooLate.aborted ? tooSlowError() : toUploadError(error);
  }
}

/** The store decides when the upload completes; what is there already is told before any byte is sent. */
async function requireAbsent(deps: Deps, upload: Upload, options: CallOptions): Promise<void> {
  if (!upload.ifNoneMatch) return;
  const address = { bucket: upload.bucket, key: upload.storeKey };
  const found = await tellingFaults(deps, 'headObject', upload.id, () => deps.store.headObject(address, options));
  if (found !== undefined) throw new StoreError('precondition_failed', `there is an object at ${upload.key}`);
}

function tooSlowError(): UploadError {
  return new UploadError('store_unavailable', 'The store took too long to open the upload. Try again.', {
    retryAfterSeconds: 2,
  });
}

function storeKeepsMs(deps: Deps): number | undefined {
  return deps.settings.storeKeepsMs ?? deps.store.keepsUnfinishedMs();
}

/** The reaper closed the row while the store was slow: the multipart upload is ours and nobody else knows it. */
async function abandon(deps: Deps, upload: Upload, storeUploadId: string): Promise<void> {
  await tellingFaults(deps, 'abortMultipartUpload', upload.id, () =>
    deps.store.abortMultipartUpload(multipartOf({ ...upload, storeUploadId })),
  ).catch(() => undefined);
}
