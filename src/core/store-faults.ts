import type { Deps } from './deps.ts';
import { UploadError, type UploadErrorCode } from './errors.ts';
import { StoreError, type StoreErrorKind } from './object-store.ts';

const faults: Readonly<Record<StoreErrorKind, { code: UploadErrorCode; message: string; retryAfterSeconds?: number }>> =
  {
    unavailable: {
      code: 'store_unavailable',
      message: 'The store cannot be reached. Try again.',
      retryAfterSeconds: 2,
    },
    full: { code: 'store_full', message: 'The store has no room left.' },
    no_such_upload: { code: 'upload_gone', message: 'The store has dropped this upload. Start a new one.' },
    no_such_object: { code: 'object_not_found', message: 'There is no such object.' },
    invalid_part: { code: 'incomplete', message: 'The store does not hold these parts.' },
    part_too_small: { code: 'part_size_mismatch', message: 'A part that is not the last is too small for the store.' },
    digest_mismatch: { code: 'digest_mismatch', message: 'The body does not match its checksum. Nothing was stored.' },
    precondition_failed: { code: 'precondition_failed', message: 'There is an object at this key already.' },
    range_not_satisfiable: { code: 'range_not_satisfiable', message: 'The range lies outside the object.' },
    refused: { code: 'store_refused', message: 'The store refused the call; the log says why.', retryAfterSeconds: 30 },
  };

/** What a store's failure is to a client. The store's own words stay in the log. */
export function toUploadError(error: unknown): unknown {
  if (!(error instanceof StoreError)) return error;
  const { code, message, retryAfterSeconds } = faults[error.kind];
  return new UploadError(code, message, {
    cause: error,
    ...(retryAfterSeconds === undefined ? {} : { retryAfterSeconds }),
  });
}

/** Calls the store and tells of its failure. @throws StoreError */
export async function tellingFaults<T>(
  deps: Pick<Deps, 'events'>,
  call: string,
  uploadId: string,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof StoreError) deps.events.emit({ type: 'store_failed', call, uploadId, error });
    throw error;
  }
}

/** A call whose bytes are still here is made so often, with a pause that grows by so much. */
export const storeTries = 3;
export const storePauseMs = 300;

/** The store may do it when it is asked again. */
export function mayPass(error: unknown): boolean {
  return error instanceof StoreError && error.kind === 'unavailable';
}
