import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response';
import type { ErrorHandler } from 'hono';
import { HTTPException } from 'hono/http-exception';
import { ClientGoneError, UploadError, type UploadErrorCode } from '../../core/errors.ts';
import type { HttpEnv } from './env.ts';

/** Tells of faults and bugs, with the request's id. */
export interface ErrorLog {
  onFault(requestId: string, error: UploadError): void;
  onBug(requestId: string, error: unknown): void;
}

/** How a front answers. */
export interface ErrorAnswers {
  refused(error: UploadError, requestId: string): Response;
  /** Opaque but for the id under which the log has it. */
  bug(requestId: string): Response;
}

/** What an operator hears of. The others are their clients' doing, or pass by themselves. */
const faults: ReadonlySet<UploadErrorCode> = new Set([
  'overloaded',
  'store_unavailable',
  'store_full',
  'store_refused',
  'records_unavailable',
]);

/** Answers what a front's routes throw, as that front says; what nobody foresaw stays opaque. */
export function answerErrors(answers: ErrorAnswers, log: ErrorLog): ErrorHandler<HttpEnv> {
  return (error, c) => {
    const requestId = c.get('requestId');
    if (error instanceof ClientGoneError) {
      c.env.outgoing.destroy();
      return RESPONSE_ALREADY_SENT;
    }
    if (error instanceof UploadError) {
      if (faults.has(error.code)) log.onFault(requestId, error);
      return answers.refused(error, requestId);
    }
    if (error instanceof HTTPException) {
      // Hono's own refusals, such as malformed JSON.
      return answers.refused(new UploadError('invalid_request', `${error.message}.`), requestId);
    }
    log.onBug(requestId, error);
    return answers.bug(requestId);
  };
}
