import pg from 'pg';
import { expect, test } from 'vitest';
import { createTestDatabase } from './postgres.ts';

async function query(url: string, statement: string): Promise<unknown[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query(statement)).rows;
  } finally {
    await client.end();
  }
}

test('makes migrated databases that know nothing of each other', async () => {
  const [one, other] = await Promise.all([createTestDatabase(), createTestDatabase()]);
  await query(one.url, 'CREATE TABLE mine (id int)');
  const tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'";
  expect(await query(other.url, tables)).toContainEqual({ tablename: 'uploads' });
  expect(await query(other.url, tables)).not.toContainEqual({ tablename: 'mine' });
  await Promise.all([one.drop(), other.drop()]);
  await expect(query(one.url, 'SELECT 1')).rejects.toThrow('does not exist');
});
