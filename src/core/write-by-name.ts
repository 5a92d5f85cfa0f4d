import { Readable } from 'node:stream';
import { BodyReader } from './body-reader.ts';
import { isDiffering } from './compare-runs.ts';
import type { Deps } from './deps.ts';
import type { Digests } from './digest.ts';
import { UploadError } from './errors.ts';
import { findUpload, requireNotGone, requireSeen } from './find.ts';
import { holdCompletion, holdWhileComing } from './hold-completion.ts';
import { findOpen, type JoinInput, joinByName, textOfName, type UploadName } from './join-by-name.ts';
import type { Principal } from './principal.ts';
import { provenEtag } from './proof.ts';
import type { RecentUploads } from './recent-uploads.ts';
import { toUploadError } from './store-faults.ts';
import { supersede } from './supersede.ts';
import type { Upload } from './upload.ts';
import { writeRange } from './write-range.ts';

/** A chunk at its place, from a client that neither creates nor completes. */
export interface PlacedChunk {
  readonly offset: number;
  readonly sizeBytes: number;
  /** The size of the whole, as the client tells. */
  readonly totalBytes: number | undefined;
  readonly chunkSizeBytes?: number | undefined;
  /** What the client states of the chunk, base64. */
  readonly digests?: Digests | undefined;
  /** Called once, when bytes are wanted. */
  readonly body: () => Readable;
}

export interface WriteContext {
  readonly recent: RecentUploads;
  /** Runs the work once there is room for a body; `hasBegun` says from when on it can't be repeated. */
  readonly withRoom: <T>(work: () => Promise<T>, hasBegun: () => boolean) => Promise<T>;
}

/** A chunk that may begin a file anew is read into memory, up to here, so that it can be stored either way. */
const keptBytes = 8 * 1024 * 1024;
/** An upload can end while a request is on its way to it; more often than this it does not. */
const mostTries = 4;

/**
 * Stores a chunk of the upload that a name means. Bytes that are stored already are compared. The first chunk of a
 * file supersedes an upload that it differs from, if nobody has written to that one for `supersedeAfterMs`; one that an
 * upload has which completed a moment ago is a repeat of it.
 * @throws UploadError; ClientGoneError
 */
export async function writeByName(
  deps: Deps,
  context: WriteContext,
  input: {
    readonly name: UploadName;
    readonly chunk: PlacedChunk;
    readonly contentType?: JoinInput['contentType'];
    readonly supersedeAfterMs: number;
  },
): Promise<Upload> {
  const { name, chunk, supersedeAfterMs } = input;
  const remembered = textOfName(deps, name);
  const join = ({ mayRepeat }: { readonly mayRepeat: boolean }) =>
    joinByName(deps, { name, offset: chunk.offset, contentType: input.contentType, mayRepeat });
  // Where the size is not told, any completed upload would fit.
  const mayRepeat = chunk.offset === 0 && chunk.totalBytes !== undefined;
  const write = (upload: Upload, once: PlacedChunk) =>
    writeInto(deps, context, { principal: name.principal, upload, chunk: once });
  // A first chunk may mean another upload than the last one did.
  if (chunk.offset === 0) context.recent.forget(remembered);

  const begin = async (once: PlacedChunk) => {
    const begun = await join({ mayRepeat: false });
    context.recent.remember(remembered, begun);
    return write(begun, once);
  };

  const repeatOrBegin = async (completed: Upload, once: PlacedChunk) => {
    if (!(await isThere(deps, completed))) return begin(once);
    return withCopies(deps, once, async (copy) => {
      try {
        return await write(completed, copy?.() ?? once);
      } catch (error) {
        if (!isDiffering(error) && !isUnverifiable(error)) throw error;
        if (copy !== undefined) return begin(copy());
        // The next time it is not held against this one.
        await deps.records.markConflicted(completed.id);
        throw droppedError(error);
      }
    });
  };
  const writeOrSupersede = (idle: Upload, once: PlacedChunk) =>
    withCopies(deps, once, async (copy) => {
      try {
        return await write(idle, copy?.() ?? once);
      } catch (error) {
        if (isDiffering(error) ? !(await supersede(deps, idle)) : !hasEnded(error)) throw error;
        if (copy === undefined) throw droppedError(error);
        return begin(copy());
      }
    });

  const find = () => join({ mayRepeat });
  const store = async (upload: Upload, once: PlacedChunk) => {
    const isLeftover = isIdle(deps, upload, supersedeAfterMs);
    if (chunk.offset > 0) {
      if (isLeftover) await holdCompletion(deps, upload.id);
      return write(upload, once);
    }
    if (upload.state === 'completed') return repeatOrBegin(upload, once);
    if (!isLeftover) return write(upload, once);
    return holdWhileComing(deps, upload.id, once.body, (body) => writeOrSupersede(upload, { ...once, body }));
  };
  return untilCurrent(context.recent, remembered, chunk, find, store, () => findOpen(deps, name));
}

/** Whether the object that an upload made is still at its key. */
async function isThere(deps: Deps, completed: Upload): Promise<boolean> {
  const etag = await provenEtag(deps, completed).catch((error: unknown) => {
    throw toUploadError(error);
  });
  return etag !== undefined;
}

/** Stores a chunk of the upload that an id means. Bytes that are stored already are compared. */
export async function writeById(
  deps: Deps,
  context: WriteContext,
  input: { readonly principal: Principal; readonly uploadId: string; readonly chunk: PlacedChunk },
): Promise<Upload> {
  const { principal, uploadId, chunk } = input;
  const remembered = JSON.stringify([principal.tenant, uploadId]);
  const find = async () => {
    const upload = await findUpload(deps, principal, uploadId);
    requireNotGone(upload);
    return upload;
  };
  return untilCurrent(context.recent, remembered, chunk, find, (upload, once) => {
    requireSeen(principal, upload);
    return writeInto(deps, context, { principal, upload, chunk: once });
  });
}

/** Works on what is remembered, and on what is on record where that turns out to be outdated. */
async function untilCurrent(
  recent: RecentUploads,
  name: string,
  chunk: PlacedChunk,
  find: () => Promise<Upload>,
  work: (upload: Upload, chunk: PlacedChunk) => Promise<Upload>,
  findNext?: () => Promise<Upload | undefined>,
): Promise<Upload> {
  let isTaken = false;
  const body = () => {
    isTaken = true;
    return chunk.body();
  };
  for (let tries = 1; ; tries++) {
    const known = recent.find(name);
    // Another gateway may have begun the next one: an end that is remembered only spares the wait for that.
    const upload = (known?.state === 'completed' ? await findNext?.() : undefined) ?? known ?? (await find());
    const isOver = upload.state === 'completed';
    // Whether a first chunk means it is known once it has been compared.
    if (known === undefined && !(isOver && chunk.offset === 0)) {
      recent[isOver ? 'rememberEnd' : 'remember'](name, upload);
    }
    try {
      const written = await work(upload, { ...chunk, body });
      if (!isOver || written.id !== upload.id) recent.remember(name, written);
      return written;
    } catch (error) {
      if (!isOver || !isUnverifiable(error)) recent.forget(name);
      if (upload.state !== 'open' || !hasEnded(error)) throw error;
      const isSuperseded = error.details.reason === 'superseded';
      if (tries === mostTries || (isTaken && known === undefined && !isSuperseded)) throw error;
      if (!isTaken) continue;
      // Where there is no other upload to go on with, that is the answer.
      await find();
      throw outdatedError(error);
    }
  }
}

async function writeInto(
  deps: Deps,
  context: WriteContext,
  input: { readonly principal: Principal; readonly upload: Upload; readonly chunk: PlacedChunk },
): Promise<Upload> {
  const { principal, upload, chunk } = input;
  requireSameTotal(upload, chunk.totalBytes);
  let hasBegun = false;
  const body = () => {
    hasBegun = true;
    return chunk.body();
  };
  return context.withRoom(
    () => writeRange(deps, { ...chunk, principal, upload, mode: 'anywhere', completes: true, body }),
    () => hasBegun,
  );
}

/** @throws UploadError `state_conflict`, which names both */
export function requireSameTotal({ sizeBytes }: Upload, totalBytes: number | undefined): void {
  if (sizeBytes === undefined || totalBytes === undefined || sizeBytes === totalBytes) return;
  throw new UploadError('state_conflict', `The upload has ${sizeBytes} bytes, the request says ${totalBytes}.`, {
    details: { conflict: 'size', expectedSize: sizeBytes, statedSize: totalBytes },
  });
}

/** Bytes are stored from zero on, and nobody has added to them for so long. */
function isIdle(deps: Deps, { state, offset, lastWriteAt, createdAt }: Upload, sinceMs: number): boolean {
  const idleMs = deps.clock.now().getTime() - (lastWriteAt ?? createdAt).getTime();
  return state === 'open' && offset > 0 && idleMs >= sinceMs;
}

/** Gives the work a way to have the same chunk twice, as far as memory allows: the chunk is then read to its end. */
async function withCopies<T>(
  deps: Deps,
  chunk: PlacedChunk,
  work: (copy: (() => PlacedChunk) | undefined) => Promise<T>,
): Promise<T> {
  if (chunk.sizeBytes > keptBytes || !deps.memory.take(chunk.sizeBytes)) return work(undefined);
  try {
    const bytes = await readWhole(deps, chunk);
    // Whoever stores a buffer may empty it.
    return await work(() => ({ ...chunk, body: () => Readable.from([Buffer.from(bytes)], { objectMode: false }) }));
  } finally {
    deps.memory.give(chunk.sizeBytes);
  }
}

async function readWhole(deps: Deps, { sizeBytes, body }: PlacedChunk): Promise<Buffer> {
  const reader = new BodyReader(deps, body());
  const chunks: Buffer[] = [];
  let missing = sizeBytes;
  try {
    while (missing > 0) {
      const chunk = await reader.take(missing);
      if (chunk === undefined)
        throw new UploadError('invalid_request', `The body has not the ${sizeBytes} bytes of its range.`);
      chunks.push(chunk);
      missing -= chunk.length;
    }
    return Buffer.concat(chunks);
  } finally {
    reader.end();
  }
}

/** The piece may be another one than was stored; which upload it is for stays the same. */
function isUnverifiable(error: unknown): boolean {
  return error instanceof UploadError && error.details.conflict === 'unverifiable';
}

/** The upload takes no bytes any more. */
function hasEnded(error: unknown): error is UploadError {
  if (!(error instanceof UploadError)) return false;
  return error.code === 'upload_gone' || error.code === 'upload_not_found' || 'uploadState' in error.details;
}

function outdatedError(cause: unknown): UploadError {
  return new UploadError('busy', 'The upload has ended a moment ago. Send the chunk again.', {
    retryAfterSeconds: 1,
    cause,
  });
}

function droppedError(cause: unknown): UploadError {
  return new UploadError(
    'busy',
    'This file is not the one that was sent before under its name. Send the chunk again.',
    { retryAfterSeconds: 1, cause },
  );
}
