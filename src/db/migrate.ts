import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { migrate as applyMigrations, drizzle } from './drizzle.ts';
import { toRecordsError } from './errors.ts';

const migrationsFolder = fileURLToPath(new URL('../../drizzle', import.meta.url));

/** Any constant of ours: drizzle's migrator takes no lock, and replicas start at once. */
const migrationLock = 7_267_922_741;

/** Brings the database to this version's schema. Safe to call from many replicas at the same time. */
export async function migrate(databaseUrl: string): Promise<void> {
  const client = new pg.Client({
    connectionString: databaseUrl,
    connectionTimeoutMillis: 10_000,
    application_name: 'partway-migrate',
  });
  client.on('error', () => {});
  try {
    await client.connect();
    await client.query('SELECT pg_advisory_lock($1)', [migrationLock]);
    await applyMigrations(drizzle({ client }), { migrationsFolder });
  } catch (error) {
    throw toRecordsError(error);
  } finally {
    await client.end();
  }
}

/** How many this version brings. */
export function knownMigrations(): number {
  const journal = JSON.parse(readFileSync(join(migrationsFolder, 'meta/_journal.json'), 'utf8')) as {
    readonly entries: readonly unknown[];
  };
  return journal.entries.length;
}

/** How many the database has, by drizzle's own table. */
export async function appliedMigrations(client: pg.Client): Promise<number> {
  const table = 'drizzle.__drizzle_migrations';
  const { rows: tables } = await client.query<{ there: boolean }>('select to_regclass($1) is not null as there', [
    table,
  ]);
  if (tables[0]?.there !== true) return 0;
  const { rows } = await client.query<{ count: number }>(`select count(*)::int as count from ${table}`);
  return rows[0]?.count ?? 0;
}
