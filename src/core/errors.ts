/**
 * Why the core refused or could not finish a call. The list is closed: every protocol front owns a
 * table with an entry for each (`satisfies ProblemTable`), so a new code does not compile until each front has
 * said how it looks on its wire.
 */
export const uploadErrorCodes = [
  'invalid_request',
  'unauthorized',
  'forbidden',
  'upload_not_found',
  'object_not_found',
  'upload_gone',
  'state_conflict',
  'incomplete',
  'precondition_failed',
  'length_required',
  'body_timeout',
  'idempotency_conflict',
  'digest_mismatch',
  'part_size_mismatch',
  'limit_exceeded',
  'range_not_satisfiable',
  'busy',
  'overloaded',
  'store_unavailable',
  'store_full',
  'store_refused',
  'records_unavailable',
  'unsupported',
] as const;

export type UploadErrorCode = (typeof uploadErrorCodes)[number];

/** Details that are safe to show to the client: JSON, no driver messages, no secrets. */
export type UploadErrorDetails = Readonly<Record<string, unknown>>;

/**
 * An expected refusal or fault. The message is written for the client; what the driver said stays in
 * `cause`, for the log alone. Anything else that the core throws is a bug.
 */
export class UploadError extends Error {
  override readonly name = 'UploadError';
  readonly code: UploadErrorCode;
  readonly details: UploadErrorDetails;
  /** Seconds after which the same request may succeed. */
  readonly retryAfterSeconds: number | undefined;

  constructor(
    code: UploadErrorCode,
    message: string,
    options: { details?: UploadErrorDetails; retryAfterSeconds?: number; cause?: unknown } = {},
  ) {
    super(message, { cause: options.cause });
    this.code = code;
    this.details = options.details ?? {};
    this.retryAfterSeconds = options.retryAfterSeconds;
  }
}

/**
 * The client left, or its connection broke, before the body was whole. There is nobody to answer;
 * fronts end the response without a word.
 */
export class ClientGoneError extends Error {
  override readonly name = 'ClientGoneError';
}
