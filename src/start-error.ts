/** Why the gateway did not start, for the person who started it: which setting, what happened, what is wanted. */
export class StartError extends Error {
  override readonly name = 'StartError';
}

/** What connecting to DATABASE_URL met. The URL's password is not shown. */
export function databaseStartError(databaseUrl: string, error: unknown): StartError {
  const { host, pathname } = new URL(databaseUrl);
  return new StartError(
    `DATABASE_URL: ${host}${pathname} cannot be used: ${innermostMessage(error)}\n` +
      'Wanted: the URL of a Postgres 14 or newer that runs, with a database that exists and whose tables its user may create.',
    { cause: error },
  );
}

/** What listening met. */
export function listenStartError(host: string, port: number, error: unknown): StartError {
  const why: Record<string, string> = {
    EADDRINUSE: 'another program listens there',
    EACCES: 'this user may not listen there',
    EADDRNOTAVAIL: 'this machine has no such address',
    ENOTFOUND: 'there is no such host',
  };
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  return new StartError(
    `PARTWAY_HOST, PARTWAY_PORT: cannot listen on ${host}:${port}: ${why[code] ?? innermostMessage(error)}\n` +
      'Wanted: an address of this machine and a free port (0 takes any).',
    { cause: error },
  );
}

function innermostMessage(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0) return innermostMessage(error.errors[0]);
  if (error instanceof Error && error.cause !== undefined) return innermostMessage(error.cause);
  return error instanceof Error ? error.message || error.name : String(error);
}
