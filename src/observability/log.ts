import { type DestinationStream, type Logger, pino } from 'pino';

export type { Logger } from 'pino';

/** JSON lines on standard error. Authorization never appears, nor do queries, which may carry signatures. */
export function createLog(level: string, destination: DestinationStream = pino.destination(2)): Logger {
  return pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { err: describeError },
      redact: { paths: ['authorization', '*.authorization', 'headers.cookie'], censor: '(not shown)' },
    },
    destination,
  );
}

/** No more than this: drivers hang connections, with their secrets, and requests on their errors. */
function describeError(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const { name, message, stack, cause } = error;
  const code = 'code' in error ? error.code : undefined;
  return {
    ...{ name, message, code, stack },
    ...(cause === undefined ? {} : { cause: describeError(cause) }),
  };
}
