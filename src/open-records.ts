import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { readSettings, type Settings } from './config.ts';
import { Connection } from './db/connection.ts';
import { findRunningEmbeddedPostgres, startEmbeddedPostgres } from './db/embedded-postgres.ts';
import { toRecordsError } from './db/errors.ts';
import { migrate } from './db/migrate.ts';
import { surveyRecords } from './db/survey.ts';
import { databaseStartError, StartError } from './start-error.ts';

const surveyDeadlineMs = 10_000;

export interface OpenRecords extends AsyncDisposable {
  readonly connection: Connection;
  readonly url: string;
  readonly settings: Settings;
}

/**
 * The records for a command that runs beside a gateway: by DATABASE_URL, else the embedded Postgres, which is
 * started for the command where no gateway runs it.
 * @throws SettingsError, UploadError `records_unavailable`
 */
export async function openRecords(
  env: Readonly<Record<string, string | undefined>>,
  options: { readonly mayCreate: boolean; readonly mayMigrate?: boolean },
): Promise<OpenRecords> {
  const settings = readSettings(env);
  await using opened = new AsyncDisposableStack();
  const url = settings.DATABASE_URL ?? (await embedded(resolve(settings.PARTWAY_DATA_DIR), options.mayCreate, opened));
  const { mayMigrate = true } = options;
  await (mayMigrate ? migrate(url) : requireMigrated(url)).catch((error: unknown) => {
    throw error instanceof StartError ? error : databaseStartError(url, error);
  });
  const connection = new Connection({ url, onIdleError: () => {} });
  opened.defer(() => connection.close());
  const owned = opened.move();
  return { connection, url, settings, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

/** For who must not change anything. */
async function requireMigrated(url: string): Promise<void> {
  const { appliedMigrations, knownMigrations } = await surveyRecords(url, surveyDeadlineMs).catch((error: unknown) => {
    throw toRecordsError(error);
  });
  if (appliedMigrations === knownMigrations) return;
  throw new StartError(
    `The records have ${appliedMigrations} migrations, and this version knows ${knownMigrations}. ` +
      'Wanted: records of this version; the start of a gateway brings them there.',
  );
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
