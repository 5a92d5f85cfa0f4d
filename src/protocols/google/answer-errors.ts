import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response';
import type { ErrorHandler } from 'hono';
import { HTTPException } from 'hono/http-exception';
import { ClientGoneError, UploadError } from '../../core/errors.ts';
import type { ErrorLog } from '../http/answer-errors.ts';
import type { HttpEnv } from '../http/env.ts';
import { type GoogleError, googleErrorOf } from './errors.ts';
import { rangeOf } from './progress.ts';

/** Answers what the routes throw, in the shape of the JSON API's errors; what nobody foresaw stays opaque. */
export function answerGoogleErrors(log: ErrorLog): ErrorHandler<HttpEnv> {
  return (error, c) => {
    const requestId = c.get('requestId');
    if (error instanceof ClientGoneError) {
      c.env.outgoing.destroy();
      return RESPONSE_ALREADY_SENT;
    }
    if (error instanceof UploadError) {
      const look = googleErrorOf(error);
      if (look.status >= 500) log.onFault(requestId, error);
      return answer(look, error.message, headersOf(error, look));
    }
    if (error instanceof HTTPException) return answer({ status: 400, reason: 'invalid' }, `${error.message}.`);
    log.onBug(requestId, error);
    return answer({ status: 500, reason: 'internalError' }, `A bug of the gateway; its log has it under ${requestId}.`);
  };
}

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
