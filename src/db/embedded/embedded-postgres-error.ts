/** The embedded Postgres cannot be had here. The message is for the person who started the gateway. */
export class EmbeddedPostgresError extends Error {
  override readonly name = 'EmbeddedPostgresError';
}
