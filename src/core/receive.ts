import type { Readable } from 'node:stream';
import type { Deps } from './deps.ts';
import type { Digests, RunningDigest } from './digest.ts';
import { ClientGoneError, UploadError } from './errors.ts';
import { freeBuffer } from './free-buffer.ts';
import { finishDigests } from './kept-digests.ts';
import { BodyLengthError, PartBody } from './part-body.ts';

export interface Reception {
  readonly body: Readable;
  /** Nobody else holds the body's buffers: the memory of each is given back as soon as it has been sent. */
  readonly ownsBuffers?: boolean | undefined;
  readonly sizeBytes: number;
  readonly digests: readonly RunningDigest[];
  readonly beforeLast: (values: Digests) => Promise<void> | void;
  /** Takes the bytes on; without it they are only counted and hashed. */
  readonly send?: (body: PartBody | Buffer, signal: AbortSignal) => Promise<{ etag: string }>;
  readonly stop?: AbortSignal;
}

/**
 * Pipes a client's body into `send` and watches both ends: whoever leaves or stalls ends the other's call,
 * and the first failure is the one that is thrown.
 */
export async function receive(deps: Deps, reception: Reception): Promise<{ etag: string }> {
  const { body, sizeBytes, digests, beforeLast, stop } = reception;
  const send = reception.send ?? drain;
  const controller = new AbortController();
  const fail = (reason: unknown) => controller.abort(reason);
  const onStop = () => fail(stop?.reason);
  const finish = async () => beforeLast(await finishDigests(digests));
  if (sizeBytes === 0) {
    await finish();
    return send(Buffer.alloc(0), controller.signal);
  }
  const partBody = new PartBody({
    sizeBytes,
    digests,
    beforeLast: finish,
    afterSent: reception.ownsBuffers ? freeBuffer : undefined,
  });
  const onClose = () => body.readableEnded || fail(new ClientGoneError('the client closed its connection in the body'));
  const onBodyError = (cause: unknown) => fail(new ClientGoneError('the body broke off', { cause }));
  const onPartBodyError = (error: Error) => fail(error instanceof BodyLengthError ? lengthError(error) : error);
  const stopWatching = watchForStall(deps, partBody, fail);
  body.on('error', onBodyError);
  body.on('close', onClose);
  partBody.on('error', onPartBodyError);
  stop?.addEventListener('abort', onStop);
  controller.signal.addEventListener('abort', () => body.unpipe(partBody), { once: true });
  if (stop?.aborted) onStop();
  if (body.destroyed && !body.readableEnded) onClose();
  else body.pipe(partBody);
  try {
    return await raceAbort(send(partBody, controller.signal), controller.signal);
  } catch (error) {
    throw controller.signal.aborted ? controller.signal.reason : error;
  } finally {
    stopWatching();
    body.unpipe(partBody);
    body.off('close', onClose);
    stop?.removeEventListener('abort', onStop);
    partBody.destroy();
  }
}

async function drain(body: PartBody | Buffer): Promise<{ etag: string }> {
  if (Buffer.isBuffer(body)) return { etag: '' };
  return new Promise((resolve, reject) => {
    body.on('end', () => resolve({ etag: '' }));
    body.on('error', reject);
    body.resume();
  });
}

/** Rejects as soon as the signal aborts, even where the work is slow to notice. */
async function raceAbort<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  let onAbort: (() => void) | undefined;
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal.reason);
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
  });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    if (onAbort) signal.removeEventListener('abort', onAbort);
    work.catch(() => undefined);
  }
}

function lengthError(error: BodyLengthError): UploadError {
  return new UploadError('invalid_request', `The ${error.message}.`, { cause: error });
}

/**
 * A client that sends nothing for `bodyIdleMs` is given up. Where bytes are waiting to go on, it is the store
 * that stalls, and the store adapter's own timer decides.
 */
function watchForStall(deps: Deps, partBody: PartBody, fail: (reason: unknown) => void): () => void {
  const { bodyIdleMs } = deps.settings;
  const steps = 4;
  let seen = -1;
  let quietSteps = 0;
  return deps.clock.every(bodyIdleMs / steps, () => {
    const waitsForClient = partBody.writableLength === 0 && partBody.readableLength === 0 && !partBody.writableEnded;
    quietSteps = waitsForClient && partBody.receivedBytes === seen ? quietSteps + 1 : 0;
    seen = partBody.receivedBytes;
    if (quietSteps >= steps) {
      fail(new UploadError('body_timeout', `No byte came for ${bodyIdleMs / 1000} seconds. Send the part again.`));
    }
  });
}
