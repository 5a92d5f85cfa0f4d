import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { readSettings, type Settings } from './config.ts';
import { Connection } from './db/connection.ts';
import { findRunningEmbeddedPostgres, startEmbeddedPostgres } from './db/embedded-postgres.ts';
import { migrate } from './db/migrate.ts';
import { databaseStartError, StartError } from './start-error.ts';

export interface OpenRecords extends AsyncDisposable {
  readonly connection: Connection;
  readonly settings: Settings;
}

/**
 * The records for a command that runs beside a gateway: by DATABASE_URL, else the embedded Postgres, which is
 * started for the command where no gateway runs it.
 * @throws SettingsError, UploadError `records_unavailable`
 */
export async function openRecords(
  env: Readonly<Record<string, string | undefined>>,
  options: { readonly mayCreate: boolean },
): Promise<OpenRecords> {
  const settings = readSettings(env);
  await using opened = new AsyncDisposableStack();
  const url = settings.DATABASE_URL ?? (await embedded(resolve(settings.PARTWAY_DATA_DIR), options.mayCreate, opened));
  await migrate(url).catch((error: unknown) => {
    throw databaseStartError(url, error);
  });
  const connection = new Connection({ url, onIdleError: () => {} });
  opened.defer(() => connection.close());
  const owned = opened.move();
  return { connection, settings, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

async function embedded(dataDir: string, mayCreate: boolean, opened: AsyncDisposableStack): Promise<string> {
  if (!mayCreate && !existsSync(join(dataDir, 'postgres'))) {
    throw new StartError(
      `PARTWAY_DATA_DIR: no gateway has run in ${dataDir}. Wanted: the directory of one, or DATABASE_URL.`,
    );
  }
  const running = await findRunningEmbeddedPostgres(dataDir);
  if (running !== undefined) return running.url;
  const postgres = await startEmbeddedPostgres({ dataDir });
  opened.defer(() => postgres.stop());
  return postgres.url;
}
