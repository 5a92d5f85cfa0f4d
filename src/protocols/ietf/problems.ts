import { UploadError } from '../../core/errors.ts';
import type { ProblemLook, ProblemTable } from '../http/problem.ts';

const registry = 'https://iana.org/assignments/http-problem-types#';

/** How each refusal looks to a client: after a 4xx it does not try again, after a 5xx it asks for the offset. */
export const ietfProblems = {
  invalid_request: { status: 400, title: 'Invalid request' },
  unauthorized: { status: 401, title: 'Unauthorized' },
  forbidden: { status: 403, title: 'Forbidden' },
  upload_not_found: { status: 404, title: 'No such upload' },
  object_not_found: { status: 404, title: 'No such object' },
  upload_gone: { status: 404, title: 'Upload gone' },
  state_conflict: { status: 409, title: 'Conflict' },
  incomplete: { status: 503, title: 'Bytes missing' },
  precondition_failed: { status: 412, title: 'Precondition failed' },
  length_required: { status: 411, title: 'Length required' },
  body_timeout: { status: 503, title: 'Body timed out' },
  idempotency_conflict: { status: 409, title: 'Conflict' },
  digest_mismatch: { status: 422, title: 'Digest mismatch' },
  part_size_mismatch: { status: 409, title: 'Part size mismatch' },
  limit_exceeded: { status: 413, title: 'Limit exceeded' },
  range_not_satisfiable: { status: 416, title: 'Range not satisfiable' },
  busy: { status: 503, title: 'Busy' },
  overloaded: { status: 503, title: 'Overloaded' },
  store_unavailable: { status: 503, title: 'Store unavailable' },
  store_full: { status: 507, title: 'Store full' },
  store_refused: { status: 503, title: 'Store refused' },
  records_unavailable: { status: 503, title: 'Records unavailable' },
  unsupported: { status: 415, title: 'Not supported' },
} as const satisfies ProblemTable;

export function ietfProblemOf({ code, details }: UploadError): ProblemLook {
  const isOfRegistry = typeof details.type === 'string' && details.type !== `${registry}mismatching-upload-offset`;
  return code === 'state_conflict' && isOfRegistry ? ietfProblems.invalid_request : ietfProblems[code];
}

/** "mismatching-upload-offset": "to indicate that the Upload-Offset header field in the request does not match". */
export function mismatchingOffset(expected: number, provided: number): UploadError {
  return new UploadError('state_conflict', `The offset is ${expected}, not ${provided}.`, {
    details: {
      type: `${registry}mismatching-upload-offset`,
      'expected-offset': expected,
      'provided-offset': provided,
    },
  });
}

/** "completed-upload": "to indicate that the upload has already been completed and cannot be modified". */
export function completedUpload(): UploadError {
  return new UploadError('state_conflict', 'The upload is completed.', {
    details: { type: `${registry}completed-upload` },
  });
}

/** "inconsistent-upload-length": "to indicate that the request includes inconsistent upload length values". */
export function inconsistentLength(detail: string): UploadError {
  return new UploadError('state_conflict', detail, { details: { type: `${registry}inconsistent-upload-length` } });
}
