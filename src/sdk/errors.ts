/** What stands behind a failure, for programs. Codes of the gateway's problems come through as they are. */
export interface FailureDetails {
  /** The problem's `code`, or one of ours: `source_changed`, `source_unreadable`, `interrupted`, `gave_up`, … */
  readonly code: string;
  /** HTTP status of the answer, where there was one. */
  readonly status?: number | undefined;
  /** The members of the gateway's problem. */
  readonly problem?: Readonly<Record<string, unknown>> | undefined;
  readonly cause?: unknown;
}

/** The base of all that the SDK throws on purpose. */
export abstract class PartwayError extends Error {
  readonly code: string;
  readonly status: number | undefined;
  readonly problem: Readonly<Record<string, unknown>>;
  /** The upload that it happened to, once there is one. */
  uploadId: string | undefined;
  /** Whether the upload is kept, so that the same call goes on with it. */
  isResumable: boolean;

  constructor(message: string, details: FailureDetails, isResumable: boolean) {
    super(message, details.cause === undefined ? {} : { cause: details.cause });
    this.code = details.code;
    this.status = details.status;
    this.problem = details.problem ?? {};
    this.isResumable = isResumable;
  }
}

/** The call was made with what can't be used. */
export class UsageError extends PartwayError {
  override readonly name = 'UsageError';
  constructor(message: string, details: Partial<FailureDetails> = {}) {
    super(message, { code: 'usage', ...details }, false);
  }
}

/** What is uploaded is missing, can't be read, or is no longer what it was. Nothing of it was completed. */
export class SourceError extends PartwayError {
  override readonly name = 'SourceError';
  constructor(message: string, details: FailureDetails) {
    super(message, details, true);
  }
}

/** The gateway knows no such upload, or has dropped it. */
export class NoUploadError extends PartwayError {
  override readonly name = 'NoUploadError';
  constructor(message: string, details: FailureDetails) {
    super(message, details, false);
  }
}

/** Nothing got through for as long as was allowed: the same call may succeed later. */
export class TemporaryError extends PartwayError {
  override readonly name = 'TemporaryError';
  /** What the answer asked for by `Retry-After`. */
  readonly retryAfterMs: number | undefined;
  /** The line did not carry what was sent: less at a time may get through. */
  readonly isBreak: boolean;

  constructor(
    message: string,
    details: Partial<FailureDetails> & { readonly retryAfterMs?: number | undefined; readonly isBreak?: boolean } = {},
  ) {
    super(message, { code: 'temporary', ...details }, true);
    this.retryAfterMs = details.retryAfterMs;
    this.isBreak = details.isBreak ?? false;
  }
}

/** The gateway wants another key, or does not allow this one to do it (401, 403). */
export class NotAuthorisedError extends PartwayError {
  override readonly name = 'NotAuthorisedError';
  constructor(message: string, details: FailureDetails) {
    super(message, details, true);
  }
}

/** What is stored is not what was sent. */
export class IntegrityError extends PartwayError {
  override readonly name = 'IntegrityError';
  constructor(message: string, details: Partial<FailureDetails> = {}) {
    super(message, { code: 'digest_mismatch', ...details }, true);
  }
}

/** The gateway won't do it, now or later. */
export class RefusedError extends PartwayError {
  override readonly name = 'RefusedError';
  constructor(message: string, details: FailureDetails) {
    super(message, details, true);
  }
}

/** The signal ended it. The upload is kept. */
export class InterruptedError extends PartwayError {
  override readonly name = 'InterruptedError';
  constructor(details: Partial<FailureDetails> = {}) {
    super('Interrupted. The upload is kept.', { code: 'interrupted', ...details }, true);
  }
}

/** `abort()` gave the upload up. */
export class AbortedError extends PartwayError {
  override readonly name = 'AbortedError';
  constructor() {
    super('The upload was given up.', { code: 'aborted' }, false);
  }
}

/* By name, as two copies of a package have two classes of the same. */
const named =
  <E extends PartwayError>(name: E['name']) =>
  (error: unknown): error is E =>
    error instanceof Error && error.name === name && 'isResumable' in error;

export const isUsageError = named<UsageError>('UsageError');
export const isSourceError = named<SourceError>('SourceError');
export const isNoUploadError = named<NoUploadError>('NoUploadError');
export const isTemporaryError = named<TemporaryError>('TemporaryError');
export const isNotAuthorisedError = named<NotAuthorisedError>('NotAuthorisedError');
export const isIntegrityError = named<IntegrityError>('IntegrityError');
export const isRefusedError = named<RefusedError>('RefusedError');
export const isInterruptedError = named<InterruptedError>('InterruptedError');
export const isAbortedError = named<AbortedError>('AbortedError');

/** Any of them. */
export function isPartwayError(error: unknown): error is PartwayError {
  return error instanceof Error && 'isResumable' in error && 'code' in error;
}
