import pg from 'pg';
import { UploadError } from '../core/errors.ts';
import { DrizzleQueryError } from './drizzle.ts';

/** Classes and codes of Postgres that mean: not now (Postgres manual, appendix A). */
const passing = /^(08|53|57P|58|40001|40P01|55P03|57014|25P03|25006)/;

/** What drizzle wrapped: its own messages contain SQL and parameters and must go nowhere. */
function driverError(error: unknown): unknown {
  return error instanceof DrizzleQueryError && error.cause !== undefined ? error.cause : error;
}

export function isUniqueViolation(error: unknown, constraint: string): boolean {
  const cause = driverError(error);
  return cause instanceof pg.DatabaseError && cause.code === '23505' && cause.constraint === constraint;
}

/** `records_unavailable` for faults of the connection or the server; a bug's message without SQL otherwise. */
export function toRecordsError(error: unknown): Error {
  const cause = driverError(error);
  if (cause instanceof UploadError) return cause;
  if (cause instanceof pg.DatabaseError && !passing.test(cause.code ?? '')) {
    return new Error(`records: ${cause.code} ${cause.message}`, { cause });
  }
  if (cause instanceof pg.DatabaseError || isConnectionFault(cause)) {
    return new UploadError('records_unavailable', 'The records cannot be reached. Try again.', {
      retryAfterSeconds: 2,
      cause,
    });
  }
  return cause instanceof Error ? cause : new Error(String(cause));
}

function isConnectionFault(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  if ('code' in error && typeof error.code === 'string' && /^(E[A-Z_]+|ERR_SOCKET.*)$/.test(error.code)) return true;
  if (error instanceof AggregateError) return error.errors.some(isConnectionFault);
  return /timeout|terminat|Connection ended|not queryable|Client was closed|Cannot use a pool after/i.test(
    error.message,
  );
}
