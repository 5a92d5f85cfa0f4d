import { resolve } from 'node:path';
import { readSettings } from './config.ts';
import { Connection } from './db/connection.ts';
import { findRunningEmbeddedPostgres, startEmbeddedPostgres } from './db/embedded-postgres.ts';
import { migrate } from './db/migrate.ts';

/**
 * The records for a command that runs beside a gateway: by DATABASE_URL, else the embedded Postgres, which is
 * started for the command where no gateway runs it.
 * @throws SettingsError, UploadError `records_unavailable`
 */
export async function openRecords(
  env: Readonly<Record<string, string | undefined>>,
): Promise<{ connection: Connection } & AsyncDisposable> {
  const settings = readSettings(env);
  await using opened = new AsyncDisposableStack();
  const url = settings.DATABASE_URL ?? (await embedded(resolve(settings.PARTWAY_DATA_DIR), opened));
  await migrate(url);
  const connection = new Connection({ url, onIdleError: () => {} });
  opened.defer(() => connection.close());
  const owned = opened.move();
  return { connection, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

async function embedded(dataDir: string, opened: AsyncDisposableStack): Promise<string> {
  const running = await findRunningEmbeddedPostgres(dataDir);
  if (running !== undefined) return running.url;
  const postgres = await startEmbeddedPostgres({ dataDir });
  opened.defer(() => postgres.stop());
  return postgres.url;
}
