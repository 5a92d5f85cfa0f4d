import type { UploadError } from '../../core/errors.ts';
import type { ProblemLook, ProblemTable } from '../http/problem.ts';

/**
 * How each refusal looks in tus. tus-js-client repeats what is answered 409, 423 or 5xx, asks for the offset first, and gives
 * up on any other 4xx.
 */
export const tusProblems = {
  invalid_request: { status: 400, title: 'Invalid request' },
  unauthorized: { status: 401, title: 'Unauthorized' },
  forbidden: { status: 403, title: 'Forbidden' },
  upload_not_found: { status: 404, title: 'No such upload' },
  object_not_found: { status: 404, title: 'No such object' },
  upload_gone: { status: 410, title: 'Upload gone' },
  state_conflict: { status: 409, title: 'Conflict' },
  incomplete: { status: 503, title: 'Bytes missing' },
  precondition_failed: { status: 409, title: 'Precondition failed' },
  length_required: { status: 411, title: 'Length required' },
  // Not 408: who was silent for a while would never try again.
  body_timeout: { status: 503, title: 'Body timed out' },
  idempotency_conflict: { status: 409, title: 'Conflict' },
  // "460 Checksum Mismatch if the checksums mismatch"
  digest_mismatch: { status: 460, title: 'Checksum Mismatch' },
  part_size_mismatch: { status: 409, title: 'Part size mismatch' },
  limit_exceeded: { status: 413, title: 'Limit exceeded' },
  range_not_satisfiable: { status: 416, title: 'Range not satisfiable' },
  busy: { status: 423, title: 'Locked' },
  overloaded: { status: 503, title: 'Overloaded' },
  store_unavailable: { status: 503, title: 'Store unavailable' },
  store_full: { status: 507, title: 'Store full' },
  store_refused: { status: 503, title: 'Store refused' },
  records_unavailable: { status: 503, title: 'Records unavailable' },
  unsupported: { status: 415, title: 'Not supported' },
} as const satisfies ProblemTable;

/** Bytes beyond the upload's end are too many for it. */
export function tusProblemOf({ code, details }: UploadError): ProblemLook {
  const isTooMuch = code === 'state_conflict' && details.conflict === 'size';
  return isTooMuch ? tusProblems.limit_exceeded : tusProblems[code];
}
