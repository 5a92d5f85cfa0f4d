import type { ProblemTable } from '../http/problem.ts';

/** How each refusal looks to a client that sends ranges: what may pass is 503, the one that they repeat if any. */
export const contentRangeProblems = {
  invalid_request: { status: 400, title: 'Invalid request' },
  unauthorized: { status: 401, title: 'Unauthorized' },
  forbidden: { status: 403, title: 'Forbidden' },
  upload_not_found: { status: 404, title: 'No such upload' },
  object_not_found: { status: 404, title: 'No such object' },
  upload_gone: { status: 410, title: 'Upload gone' },
  state_conflict: { status: 409, title: 'Conflict' },
  incomplete: { status: 409, title: 'Bytes missing' },
  precondition_failed: { status: 412, title: 'Precondition failed' },
  length_required: { status: 411, title: 'Length required' },
  body_timeout: { status: 408, title: 'Body timed out' },
  idempotency_conflict: { status: 409, title: 'Conflict' },
  digest_mismatch: { status: 422, title: 'Digest mismatch' },
  part_size_mismatch: { status: 422, title: 'Part size mismatch' },
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
