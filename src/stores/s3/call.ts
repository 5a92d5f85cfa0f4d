import { Readable } from 'node:stream';
import { type StoreBody, StoreError } from '../../core/object-store.ts';
import { BufferList } from './buffer-list.ts';
import { toStoreError } from './errors.ts';

/**
 * Runs one call to the store. Rejects with the signal's reason, or a StoreError.
 * @param name for the log
 */
export async function callStore<T>(
  name: string,
  signal: AbortSignal | undefined,
  run: (options: { abortSignal?: AbortSignal }) => Promise<T>,
): Promise<T> {
  signal?.throwIfAborted();
  try {
    return await run(signal === undefined ? {} : { abortSignal: signal });
  } catch (error) {
    signal?.throwIfAborted();
    throw toStoreError(name, error);
  }
}

/** Runs a call that sends a body, and ends it at once when the body breaks off: the SDK would wait for ever. */
export async function callWithBody<T>(
  name: string,
  input: { readonly body: StoreBody; readonly sizeBytes: number },
  signal: AbortSignal | undefined,
  run: (body: Readable, options: { abortSignal?: AbortSignal }) => Promise<T>,
): Promise<T> {
  const { body, sizeBytes } = input;
  if (body instanceof Readable)
    return callWithStream(name, { body, sizeBytes }, signal, (options) => run(body, options));
  const bytes = new BufferList(Buffer.isBuffer(body) ? [body] : body);
  if (bytes.length === sizeBytes) return callStore(name, signal, (options) => run(bytes, options)).catch(asBodyFault);
  throw brokenOff(name, `it has ${bytes.length} of ${sizeBytes} bytes`);
}

async function callWithStream<T>(
  name: string,
  { body, sizeBytes }: { readonly body: Readable; readonly sizeBytes: number },
  signal: AbortSignal | undefined,
  run: (options: { abortSignal?: AbortSignal }) => Promise<T>,
): Promise<T> {
  const stop = new AbortController();
  const abort = () => stop.abort(signal?.reason);
  const unwatch = watchBody(body, sizeBytes, (why, cause) => stop.abort(brokenOff(name, why, cause)));
  if (signal?.aborted) abort();
  signal?.addEventListener('abort', abort);
  try {
    return await callStore(name, stop.signal, run);
  } catch (error) {
    // The store may have answered before the body's end; without this its socket waits for the rest.
    stop.abort();
    body.destroy();
    return asBodyFault(error);
  } finally {
    signal?.removeEventListener('abort', abort);
    unwatch();
  }
}

function watchBody(body: Readable, sizeBytes: number, fail: (why: string, cause?: unknown) => void): () => void {
  let seenBytes = 0;
  const onData = (chunk: Uint8Array) => {
    seenBytes += chunk.byteLength;
    // What is beyond Content-Length would be read as the next request on this connection.
    if (seenBytes > sizeBytes) fail(`it has more than ${sizeBytes} bytes`);
  };
  const onEnd = () => {
    if (seenBytes < sizeBytes) fail(`it ended after ${seenBytes} of ${sizeBytes} bytes`);
  };
  const onClose = () => {
    if (!body.readableEnded) fail(`it was closed after ${seenBytes} of ${sizeBytes} bytes`, body.errored);
  };
  const onError = (error: Error) => fail(`it failed after ${seenBytes} of ${sizeBytes} bytes`, error);
  // Paused, so that no byte flows before the SDK pipes the body into its request, which starts it again.
  body.pause();
  body.on('data', onData);
  body.on('end', onEnd);
  body.on('close', onClose);
  // Stays: an error that nobody listens to ends the process.
  body.on('error', onError);
  if (body.destroyed) onClose();
  if (body.readableEnded) onEnd();
  return () => {
    body.off('data', onData);
    body.off('end', onEnd);
    body.off('close', onClose);
  };
}

/** RGW answers NoSuchKey to a body that was cut off on the way. */
function asBodyFault(error: unknown): never {
  if (!(error instanceof StoreError) || error.kind !== 'no_such_object') throw error;
  throw new StoreError('unavailable', error.message, { cause: error });
}

function brokenOff(name: string, why: string, cause?: unknown): StoreError {
  return new StoreError('unavailable', `${name}: the body broke off: ${why}`, { cause });
}
