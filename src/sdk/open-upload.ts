import type { PartwayClient } from './client.ts';
import type { CreateJson, UploadJson } from './contract.ts';
import { isNoUploadError, isRefusedError, isTemporaryError, NoUploadError, SourceError, UsageError } from './errors.ts';
import type { Hashes } from './hashes.ts';
import type { ResumeRecord, UploadOptions } from './options.ts';
import { resumeFingerprint } from './resume-fingerprint.ts';
import type { Patience } from './retrying.ts';
import type { Source } from './sources/source.ts';
import { orStopped } from './wait.ts';

const largePartBytes = 16 * 1024 ** 2;
const mostParts = 10_000;

export interface OpenedUpload {
  readonly upload: UploadJson;
  readonly isResumed: boolean;
}

export interface Opening {
  readonly client: PartwayClient;
  readonly options: UploadOptions;
  readonly source: Source;
  readonly hashes: Hashes;
  readonly patience: Patience;
  readonly signal: AbortSignal;
  readonly unheard: Unheard;
}

/** A request to create whose answer was not heard: the same, under the same key, tells of the upload that it made. */
export interface Unheard {
  create?: ((signal: AbortSignal) => Promise<UploadJson>) | undefined;
}

/**
 * Created, or found again where an earlier call, or a lost answer, has created it already.
 * @throws NoUploadError where it is gone; SourceError where the source has changed since
 */
export async function openUpload(opening: Opening): Promise<OpenedUpload> {
  const { options, source } = opening;
  if (options.uploadId !== undefined) {
    const named = await look(opening, options.uploadId);
    requireNamed(options, named.upload);
    return named;
  }
  if (source.kind === 'stream') return { upload: await create(opening, newKey()), isResumed: false };
  const remembered = await recall(opening);
  if (remembered.uploadId !== undefined) {
    const found = await look(opening, remembered.uploadId);
    if (isMeant(opening, found.upload)) return found;
  }
  const idempotencyKey = remembered.uploadId === undefined ? remembered.idempotencyKey : newKey();
  const upload = await create(opening, idempotencyKey).catch(async (error: unknown) => {
    // Refused for good, there is nothing to go on with.
    if (isRefusedError(error)) await forget(opening).catch(() => {});
    throw error;
  });
  await remember(opening, { ...remembered, uploadId: upload.id });
  return { upload, isResumed: upload.receivedBytes > 0 };
}

/** What is remembered of the source is dropped: the next call begins anew. */
export async function forget(opening: Opening): Promise<void> {
  const { options, source, client, signal } = opening;
  if (source.kind !== 'seekable') return;
  await orStopped(resolved(options.resumeStore?.delete(fingerprintOf(options, client, source.place))), signal);
}

/** The upload is completed: what is remembered of it has served. */
export async function settle({ options, source, client, signal }: Opening): Promise<void> {
  if (source.kind !== 'seekable') return;
  const { resumeStore } = options;
  const fingerprint = fingerprintOf(options, client, source.place);
  await orStopped(resolved(resumeStore?.complete?.(fingerprint) ?? resumeStore?.delete(fingerprint)), signal);
}

/** Gives up what an earlier call has begun. */
export async function dropEarlier(opening: Opening): Promise<void> {
  const { client, options, source, patience, signal } = opening;
  if (source.kind !== 'seekable') return;
  const remembered = await orStopped(
    resolved(options.resumeStore?.get(fingerprintOf(options, client, source.place))),
    signal,
  );
  if (remembered !== undefined) {
    await patience
      .retry(async () => {
        // Whether it was created was not heard: asked again, the gateway tells.
        const uploadId = remembered.uploadId ?? (await create(opening, remembered.idempotencyKey)).id;
        await client.abort(uploadId, { signal });
      })
      .catch((error: unknown) => {
        // What is over already needs no end.
        if (!isNoUploadError(error) && !isRefusedError(error)) throw error;
      });
  }
  await forget(opening);
}

/** What is remembered may have been written by another hand: it is no reason to send bytes to another key. */
function isMeant({ options, source }: Opening, upload: UploadJson): boolean {
  return isAt({ key: keyOf(options, source), bucket: options.bucket }, upload);
}

/** @throws UsageError where an upload is gone on with that is for another key or bucket than is asked for */
function requireNamed(options: UploadOptions, upload: UploadJson): void {
  if (isAt(options, upload)) return;
  throw new UsageError(`uploadId: upload ${upload.id} is for ${upload.key} in ${upload.bucket}.`);
}

/** What is not asked for fits. */
function isAt({ key, bucket }: Pick<UploadOptions, 'key' | 'bucket'>, upload: UploadJson): boolean {
  return (key ?? upload.key) === upload.key && (bucket ?? upload.bucket) === upload.bucket;
}

function keyOf(options: UploadOptions, source: Source): string | undefined {
  return options.key ?? (source.kind === 'seekable' ? source.name : undefined);
}

async function look(opening: Opening, uploadId: string): Promise<OpenedUpload> {
  const { client, source, patience, signal } = opening;
  const upload = await patience.retry(() => client.look(uploadId, { signal }));
  const { state, reason, size } = upload;
  if (state === 'aborting' || state === 'aborted' || state === 'deleted') {
    throw new NoUploadError(`Upload ${uploadId} is gone (${reason ?? state}).`, { code: 'upload_gone' });
  }
  if (size !== undefined && source.sizeBytes !== undefined && size !== source.sizeBytes) {
    throw new SourceError(`Upload ${uploadId} has ${size} bytes, the source has ${source.sizeBytes}.`, {
      code: 'source_changed',
    });
  }
  return { upload, isResumed: true };
}

async function recall(opening: Opening): Promise<ResumeRecord> {
  const { client, options, source, hashes, signal } = opening;
  const isRemembered = source.kind === 'seekable' && options.resumeStore !== undefined;
  const identity = isRemembered ? await source.identity(hashes) : '';
  const place = source.kind === 'seekable' ? source.place : '';
  const remembered = await orStopped(resolved(options.resumeStore?.get(fingerprintOf(options, client, place))), signal);
  if (remembered?.identity === identity) return remembered;
  if (remembered?.uploadId !== undefined && remembered.isCompleted !== true) {
    throw new SourceError(
      `${place} has changed since its upload was begun (${remembered.identity}, now ${identity}). Nothing was completed. ` +
        'Begin anew, and what was sent is dropped; or send a copy or snapshot, which stays as it is.',
      { code: 'source_changed' },
    );
  }
  const record = { server: client.server, key: options.key, identity, idempotencyKey: newKey() };
  // Before the upload is created: whoever is killed in between finds it again.
  await remember(opening, record);
  return record;
}

async function remember({ client, options, source, signal }: Opening, record: ResumeRecord): Promise<void> {
  if (source.kind !== 'seekable') return;
  await orStopped(resolved(options.resumeStore?.set(fingerprintOf(options, client, source.place), record)), signal);
}

async function create(opening: Opening, idempotencyKey: string): Promise<UploadJson> {
  const { client, patience, signal, unheard } = opening;
  const body = bodyOf(opening);
  const ask = (key: string) => {
    unheard.create = (lastSignal) => client.create(body, { idempotencyKey: key, signal: lastSignal });
    return client.create(body, { idempotencyKey: key, signal });
  };
  try {
    const upload = await patience.retry(async () => {
      try {
        return await ask(idempotencyKey);
      } catch (error) {
        if (!isRefusedError(error) || error.code !== 'idempotency_conflict') throw error;
        // An earlier call asked for something else under this key, and never learned of its upload.
        return ask(newKey());
      }
    });
    unheard.create = undefined;
    return upload;
  } catch (error) {
    if (!signal.aborted && !isTemporaryError(error)) unheard.create = undefined;
    throw error;
  }
}

function bodyOf({ options, source }: Opening): CreateJson {
  const key = keyOf(options, source);
  const { bucket, contentType, metadata, ifNoneMatch, expiresInSeconds } = options;
  const partSizeBytes = options.partSizeBytes ?? preferredPartSize(source);
  return {
    ...(key !== undefined && { key }),
    ...(source.sizeBytes !== undefined && { size: source.sizeBytes }),
    ...(bucket !== undefined && { bucket }),
    ...(contentType !== undefined && { contentType }),
    ...(metadata !== undefined && { metadata: { ...metadata } }),
    ...(ifNoneMatch !== undefined && { ifNoneMatch }),
    ...(expiresInSeconds !== undefined && { expiresIn: expiresInSeconds }),
    ...(partSizeBytes !== undefined && { partSize: partSizeBytes }),
  };
}

/**
 * Of a large source larger parts than the gateway would take: each costs a few requests, and there are enough of them
 * to send several at once. Beyond what so many parts hold the gateway knows better.
 */
export function preferredPartSize({ kind, sizeBytes = 0 }: Pick<Source, 'kind' | 'sizeBytes'>): number | undefined {
  // What comes once is held in memory part by part.
  if (kind === 'stream' || sizeBytes < 32 * largePartBytes) return undefined;
  return sizeBytes <= mostParts * largePartBytes ? largePartBytes : undefined;
}

function fingerprintOf(options: UploadOptions, client: PartwayClient, place: string): string {
  return options.fingerprint ?? resumeFingerprint({ ...options, server: client.server }, place);
}

/** A store of the caller's may answer at once. */
async function resolved<T>(answer: Promise<T> | T): Promise<T> {
  return answer;
}

function newKey(): string {
  return crypto.randomUUID();
}
