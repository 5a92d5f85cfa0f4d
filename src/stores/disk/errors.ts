import { StoreError } from '../../core/object-store.ts';

/** Runs one call. Rejects with the signal's reason, or a StoreError. */
export async function callDisk<T>(name: string, signal: AbortSignal | undefined, run: () => Promise<T>): Promise<T> {
  signal?.throwIfAborted();
  try {
    return await run();
  } catch (error) {
    signal?.throwIfAborted();
    throw toStoreError(name, error);
  }
}

/** The same for a call whose answer comes item by item. */
export async function* listDisk<T>(
  name: string,
  signal: AbortSignal | undefined,
  items: AsyncIterable<T>,
): AsyncIterable<T> {
  signal?.throwIfAborted();
  try {
    for await (const item of items) {
      yield item;
      signal?.throwIfAborted();
    }
  } catch (error) {
    signal?.throwIfAborted();
    throw toStoreError(name, error);
  }
}

export function toStoreError(call: string, error: unknown): unknown {
  const code = errorCode(error);
  if (error instanceof StoreError || code === undefined) return error;
  const isFull = code === 'ENOSPC' || code === 'EDQUOT';
  return new StoreError(isFull ? 'full' : 'unavailable', `${call}: ${(error as Error).message}`, { cause: error });
}

export function isMissing(error: unknown): boolean {
  return errorCode(error) === 'ENOENT';
}

/** Of a failed system call; what Node itself refuses is a bug of ours. */
function errorCode(error: unknown): string | undefined {
  const { code } = error as NodeJS.ErrnoException;
  return typeof code === 'string' && /^E[A-Z0-9]+$/.test(code) ? code : undefined;
}

export function noSuchUpload(storeUploadId: string): StoreError {
  return new StoreError('no_such_upload', `there is no multipart upload ${storeUploadId}`);
}

/** It took so long that another process took it for a killed one's. */
export function abandoned(draft: string): StoreError {
  return new StoreError('unavailable', `${draft} is gone`);
}
