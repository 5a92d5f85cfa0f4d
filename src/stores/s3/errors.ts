import { StoreError, type StoreErrorKind } from '../../core/object-store.ts';

/**
 * Codes that their status does not tell apart, or that have none. From S3's "List of error codes", and MinIO's
 * and RGW's own.
 */
const kinds: Readonly<Record<string, StoreErrorKind>> = {
  NoSuchUpload: 'no_such_upload',
  NoSuchKey: 'no_such_object',
  NoSuchVersion: 'no_such_object',
  NotFound: 'no_such_object',
  // Reported by DeleteObjects for a single key, without a status.
  AccessDenied: 'refused',
  InvalidPart: 'invalid_part',
  InvalidPartOrder: 'invalid_part',
  EntityTooSmall: 'part_too_small',
  BadDigest: 'digest_mismatch',
  InvalidDigest: 'digest_mismatch',
  XAmzContentChecksumMismatch: 'digest_mismatch',
  XAmzContentSHA256Mismatch: 'digest_mismatch',
  XMinioAdminBucketQuotaExceeded: 'full',
  QuotaExceeded: 'full',
  // These come with status 400.
  RequestTimeout: 'unavailable',
  IncompleteBody: 'unavailable',
  // Thrown by the SDK before it sends anything.
  CredentialsProviderError: 'refused',
  InvalidBucketName: 'refused',
};

const kindsByStatus: Readonly<Record<number, StoreErrorKind>> = {
  408: 'unavailable',
  // AWS's ConditionalRequestConflict: another call changed the key while Complete ran. That need not have left an
  // object there, as precondition_failed says; what became of the upload only a look at the store can tell.
  409: 'unavailable',
  412: 'precondition_failed',
  416: 'range_not_satisfiable',
  429: 'unavailable',
  507: 'full',
};

/** What a store's code and status mean. Without an answer nothing is known. */
export function kindOf(code: string | undefined, status: number | undefined): StoreErrorKind {
  const known = code !== undefined && Object.hasOwn(kinds, code) ? kinds[code] : undefined;
  if (known !== undefined) return known;
  if (status === undefined) return 'unavailable';
  return kindsByStatus[status] ?? (status >= 300 && status < 500 ? 'refused' : 'unavailable');
}

interface SdkError {
  readonly name?: string;
  readonly message?: string;
  readonly code?: string;
  readonly $metadata?: { readonly httpStatusCode?: number };
}

/** Translates what the SDK or Node threw. */
export function toStoreError(call: string, thrown: unknown): StoreError {
  if (thrown instanceof StoreError) return thrown;
  const { name, message, code, $metadata: answer } = thrown as SdkError;
  const status = answer?.httpStatusCode;
  // A 403 or 404 to HEAD has no body, and the SDK calls it Unknown.
  const told = [status, name, code, message].filter(
    (fact) => fact !== undefined && !/^Unknown(Error)?$/.test(`${fact}`),
  );
  const kind = isDiskFull(message) ? 'full' : kindOf(name, status);
  return new StoreError(kind, `${call}: ${told.join(', ')}`, { cause: thrown });
}

/** MinIO answers so, with InternalError, when a disk fills up in the middle of a part. */
function isDiskFull(message: string | undefined): boolean {
  return message?.includes('no space left on device') === true;
}
