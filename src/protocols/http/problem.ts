import type { UploadError, UploadErrorCode } from '../../core/errors.ts';
import type { ErrorAnswers } from './answer-errors.ts';

/** One code's look on a wire. */
export interface ProblemLook {
  readonly status: number;
  readonly title: string;
}

export type ProblemTable = Readonly<Record<UploadErrorCode, ProblemLook>>;

/** Answers with problems that look as the table says. */
export function problemsIn(table: ProblemTable): ErrorAnswers {
  return problemsBy(({ code }) => table[code]);
}

export function problemsBy(lookOf: (error: UploadError) => ProblemLook): ErrorAnswers {
  return { refused: (error, requestId) => problemOf(error, lookOf(error), requestId), bug: internalProblem };
}

/** RFC 9457, section 3: the members of a problem, and our own `code` and details beside them. */
function problemOf(error: UploadError, { status, title }: ProblemLook, requestId: string): Response {
  return problemResponse({
    status,
    requestId,
    retryAfterSeconds: error.retryAfterSeconds,
    body: {
      ...error.details,
      title,
      detail: error.message,
      code: error.code,
      ...(error.retryAfterSeconds === undefined ? {} : { retryAfter: Math.ceil(error.retryAfterSeconds) }),
    },
  });
}

function internalProblem(requestId: string): Response {
  return problemResponse({
    status: 500,
    requestId,
    body: { title: 'Internal error', detail: 'This is a bug of the gateway; its log has the cause.', code: 'internal' },
  });
}

export function problemResponse(problem: {
  readonly status: number;
  readonly requestId: string;
  readonly retryAfterSeconds?: number | undefined;
  readonly body: Readonly<Record<string, unknown>>;
}): Response {
  const { status, requestId, retryAfterSeconds, body } = problem;
  // Section 4.2.1: without a type of its own a problem is about:blank, told apart here by its code.
  return new Response(`${JSON.stringify({ type: 'about:blank', status, ...body, requestId })}\n`, {
    status,
    headers: {
      'content-type': 'application/problem+json',
      'cache-control': 'no-store',
      ...(retryAfterSeconds === undefined ? {} : { 'retry-after': String(Math.ceil(retryAfterSeconds)) }),
      // RFC 9110, section 15.5.17.
      ...(status === 416 ? { 'content-range': `bytes */${body.size}` } : {}),
      ...(status === 401 ? { 'www-authenticate': 'Bearer realm="partway", Basic realm="partway"' } : {}),
    },
  });
}
