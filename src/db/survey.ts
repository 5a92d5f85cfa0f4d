import pg from 'pg';
import { appliedMigrations, knownMigrations } from './migrate.ts';

export interface RecordsSurvey {
  /** As Postgres tells it: `18.4`. */
  readonly version: string;
  readonly majorVersion: number;
  readonly appliedMigrations: number;
  readonly knownMigrations: number;
  readonly mayCreateTables: boolean;
}

/** Looks at a database and changes nothing. @throws what the driver throws */
export async function surveyRecords(databaseUrl: string, deadlineMs: number): Promise<RecordsSurvey> {
  const client = new pg.Client({
    connectionString: databaseUrl,
    connectionTimeoutMillis: deadlineMs,
    query_timeout: deadlineMs,
    application_name: 'partway-doctor',
  });
  client.on('error', () => undefined);
  try {
    await client.connect();
    await client.query('set default_transaction_read_only = on');
    const { rows } = await client.query<{ version: string; number: number; may_create: boolean }>(
      `select current_setting('server_version') as version, current_setting('server_version_num')::int as number,
              has_database_privilege(current_database(), 'CREATE')
                and has_schema_privilege('public', 'CREATE') as may_create`,
    );
    const [told] = rows;
    return {
      version: told?.version ?? '',
      majorVersion: Math.floor((told?.number ?? 0) / 10_000),
      appliedMigrations: await appliedMigrations(client),
      knownMigrations: knownMigrations(),
      mayCreateTables: told?.may_create ?? false,
    };
  } finally {
    await client.end().catch(() => undefined);
  }
}
