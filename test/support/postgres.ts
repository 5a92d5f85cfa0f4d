import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { databaseUrl, templateDatabase } from './postgres-server.ts';
import { askForServer } from './run-servers.ts';

export interface TestDatabase {
  readonly url: string;
  drop(): Promise<void>;
}

/** An empty, migrated database that nobody else uses. */
export async function createTestDatabase(): Promise<TestDatabase> {
  const answer = await askForServer('postgres');
  if ('missing' in answer) throw new Error(answer.missing);
  const serverUrl = (answer.started as { url: string }).url;
  const name = `test_${randomBytes(8).toString('hex')}`;
  await execute(serverUrl, `CREATE DATABASE ${name} TEMPLATE ${templateDatabase}`);
  return {
    url: databaseUrl(serverUrl, name),
    drop: () => execute(serverUrl, `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`),
  };
}

/** Runs statements that no part of the gateway has a call for. */
export async function execute(url: string, statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}
