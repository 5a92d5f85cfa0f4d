import type { UploadError } from '../../core/errors.ts';
import type { ErrorAnswers } from '../http/answer-errors.ts';
import { type GoogleError, googleErrorOf } from './errors.ts';
import { rangeOf } from './progress.ts';

/** In the shape of the JSON API's errors. */
export const googleAnswers: ErrorAnswers = {
  refused: (error) => {
    const look = googleErrorOf(error);
    return answer(look, error.message, headersOf(error, look));
  },
  bug: (requestId) =>
    answer({ status: 500, reason: 'internalError' }, `A bug of the gateway; its log has it under ${requestId}.`),
};

function answer({ status, reason }: GoogleError, message: string, headers: Record<string, string> = {}): Response {
  const errors = [{ domain: 'global', reason, message }];
  return Response.json(
    { error: { code: status, message, errors } },
    { status, headers: { 'Cache-Control': 'no-store', ...headers } },
  );
}

function headersOf({ retryAfterSeconds, details }: UploadError, { status }: GoogleError): Record<string, string> {
  return {
    ...(retryAfterSeconds === undefined ? {} : { 'Retry-After': String(Math.ceil(retryAfterSeconds)) }),
    ...(status === 401 ? { 'WWW-Authenticate': 'Bearer realm="partway", Basic realm="partway"' } : {}),
    ...(details.conflict === 'gap' && typeof details.offset === 'number' ? rangeOf(details.offset) : {}),
  };
}
