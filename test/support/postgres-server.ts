import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { migrate } from '../../src/db/migrate.ts';
import { startServer } from './start-server.ts';

export const templateDatabase = 'partway_template';

export interface StartedPostgres {
  readonly url: string;
  stop(): Promise<void>;
}

/** One Postgres for the run, with a migrated template that each test file copies. */
export async function startPostgres(): Promise<StartedPostgres> {
  const folder = await mkdtemp(join(tmpdir(), 'partway-postgres-'));
  const server = startServer({
    command: process.execPath,
    args: [fileURLToPath(new URL('postgres-main.ts', import.meta.url)), join(folder, 'data')],
    folder,
  });
  const [, url = ''] = await server.waitForLine(/^listening on (.+)$/m, { deadlineMs: 60_000 });
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await client.query(`CREATE DATABASE ${templateDatabase}`);
  await client.end();
  await migrate(databaseUrl(url, templateDatabase));
  return { url, stop: () => server.stop() };
}

export function databaseUrl(serverUrl: string, database: string): string {
  const url = new URL(serverUrl);
  url.pathname = `/${database}`;
  return url.href;
}
