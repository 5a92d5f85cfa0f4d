import type { ContentfulStatusCode } from 'hono/utils/http-status';
import type { UploadError, UploadErrorCode } from '../../core/errors.ts';

/** A status of the JSON API, and the reason that goes with it. */
export interface GoogleError {
  readonly status: ContentfulStatusCode;
  readonly reason: string;
}

/**
 * How each refusal looks on Google's wire. On 408, 429, 500, 502, 503 and 504 both clients send the same request again or
 * ask for the offset; on anything else they give up, Python's until its caller says `recover()`.
 */
const googleErrors = {
  invalid_request: { status: 400, reason: 'invalid' },
  unauthorized: { status: 401, reason: 'required' },
  forbidden: { status: 403, reason: 'forbidden' },
  upload_not_found: { status: 404, reason: 'notFound' },
  object_not_found: { status: 404, reason: 'notFound' },
  upload_gone: { status: 410, reason: 'gone' },
  state_conflict: { status: 409, reason: 'conflict' },
  incomplete: { status: 503, reason: 'backendError' },
  precondition_failed: { status: 412, reason: 'conditionNotMet' },
  length_required: { status: 411, reason: 'required' },
  body_timeout: { status: 408, reason: 'uploadBrokenConnection' },
  idempotency_conflict: { status: 409, reason: 'conflict' },
  digest_mismatch: { status: 400, reason: 'invalid' },
  part_size_mismatch: { status: 400, reason: 'invalid' },
  limit_exceeded: { status: 413, reason: 'uploadTooLarge' },
  range_not_satisfiable: { status: 416, reason: 'requestedRangeNotSatisfiable' },
  busy: { status: 503, reason: 'backendError' },
  overloaded: { status: 503, reason: 'backendError' },
  store_unavailable: { status: 503, reason: 'backendError' },
  store_full: { status: 507, reason: 'insufficientStorage' },
  store_refused: { status: 503, reason: 'backendError' },
  records_unavailable: { status: 503, reason: 'backendError' },
  unsupported: { status: 501, reason: 'notImplemented' },
} as const satisfies Readonly<Record<UploadErrorCode, GoogleError>>;

/** A conflict has the look of its kind. */
export function googleErrorOf({ code, details }: UploadError): GoogleError {
  if (code !== 'state_conflict') return googleErrors[code];
  switch (details.conflict) {
    // Not 308: Node's client would go on from the shorter range with bytes from further on, and make a broken object.
    // Not 503: Python's client would send the same again for ten minutes. This one makes it ask for the offset by
    // `recover()`, and Node's fail at once, to be resumed by its URI.
    case 'gap':
      return googleErrors.range_not_satisfiable;
    case 'size':
      return googleErrors.invalid_request;
    default:
      return googleErrors.state_conflict;
  }
}
