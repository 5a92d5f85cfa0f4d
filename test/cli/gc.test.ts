import { randomBytes } from 'node:crypto';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startTestGateway, type TestGateway } from '../support/gateway.ts';
import { createTestDatabase } from '../support/postgres.ts';
import { runPartway } from '../support/run-partway.ts';

const MiB = 1024 ** 2;

let owned: AsyncDisposableStack;
let db: pg.Client;
let env: Record<string, string>;
beforeEach(async () => {
  owned = new AsyncDisposableStack();
  const dataDir = await mkdtemp(join(tmpdir(), 'partway-gc-'));
  owned.defer(() => rm(dataDir, { recursive: true, force: true }));
  const database = await createTestDatabase();
  owned.defer(() => database.drop());
  db = new pg.Client({ connectionString: database.url });
  await db.connect();
  owned.defer(() => db.end());
  env = { DATABASE_URL: database.url, PARTWAY_DATA_DIR: dataDir };
});
afterEach(() => owned.disposeAsync());

/** Does the work at a gateway that is killed then, or kills itself in the midst of it. */
async function leave(work: (gateway: TestGateway) => Promise<unknown>, killAt?: string): Promise<void> {
  // What one has left is still under its lease while another is at work.
  const gateway = await startTestGateway({ env, ...(killAt !== undefined && { killAt, leaseMs: 600_000 }) });
  await work(gateway).catch((error: unknown) => {
    if (killAt === undefined) throw error;
  });
  if (killAt === undefined) await gateway.kill9();
  else expect((await gateway.exited).signal).toBe('SIGKILL');
}

async function create({ url }: TestGateway, size: number): Promise<string> {
  const body = JSON.stringify({ key: 'file.bin', size });
  const answer = await fetch(`${url}/uploads`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body,
  });
  expect(answer.status).toBe(201);
  return ((await answer.json()) as { id: string }).id;
}

async function put({ url }: TestGateway, id: string, content: Buffer<ArrayBuffer>): Promise<void> {
  const answer = await fetch(`${url}/uploads/${id}/parts/1`, { method: 'PUT', body: content });
  expect(answer.status).toBe(200);
}

function sendChunk({ url }: TestGateway, file: Buffer<ArrayBuffer>, from: number, to: number): Promise<Response> {
  return fetch(`${url}/objects/chunked.bin`, {
    method: 'POST',
    headers: { 'Content-Range': `bytes ${from}-${to - 1}/${file.length}`, 'Content-Type': 'application/octet-stream' },
    body: file.subarray(from, to),
  });
}

/** As if so much time had passed that no lease holds and all that is to be done later is due. */
async function timePasses(): Promise<void> {
  const past = "now() - interval '1 second'";
  await db.query(`update uploads set claim_until = ${past} where claim_until is not null`);
  await db.query(`update uploads set work_due = ${past} where work_due is not null`);
  await db.query(`update parts set attempt_until = ${past} where attempt_until is not null`);
  await db.query(`update fragments set lease_until = ${past} where lease_until is not null`);
}

async function gc(...args: string[]) {
  const { code, stdout, stderr } = await runPartway(['gc', '--json', ...args], env);
  return { code, stderr, report: JSON.parse(stdout) as Record<string, unknown> };
}

/** All that it did, without what it did not. */
async function doneBy(...args: string[]): Promise<Record<string, number>> {
  const { code, stderr, report } = await gc(...args);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const counts = (report.done ?? report.due) as Record<string, number>;
  return Object.fromEntries(Object.entries(counts).filter(([, count]) => count > 0));
}

async function states(): Promise<string[]> {
  const { rows } = await db.query<{ state: string; reason: string | null }>(
    'select state, reason from uploads order by created_at',
  );
  return rows.map(({ state, reason }) => (reason === null ? state : `${state}: ${reason}`));
}

async function everything(): Promise<unknown> {
  const tables = ['uploads', 'parts', 'fragments'];
  return Promise.all(tables.map(async (table) => (await db.query(`select * from ${table} order by 1, 2`)).rows));
}

async function storedFiles(): Promise<string[]> {
  const files = await readdir(join(env.PARTWAY_DATA_DIR ?? '', 'store'), { recursive: true, withFileTypes: true });
  return files.filter((entry) => entry.isFile() && entry.name !== 'store').map(({ name }) => name);
}

describe('partway gc', () => {
  it('has nothing to do where all is in order', async () => {
    await leave(async (gateway) => put(gateway, await create(gateway, 5), Buffer.from('hello')));
    expect(await doneBy()).toEqual({});
    expect(await states()).toEqual(['open']);
    const { code, stdout, stderr } = await runPartway(['gc'], env);
    expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: 'nothing was due\n', stderr: '' });
  });

  it('completes what a gateway left that died in the midst of it', async () => {
    await leave(async (gateway) => {
      const id = await create(gateway, 5);
      await put(gateway, id, Buffer.from('hello'));
      await fetch(`${gateway.url}/uploads/${id}/complete`, { method: 'POST' });
    }, 'store.completeMultipartUpload:before');
    await timePasses();
    expect(await doneBy('--dry-run')).toEqual({ uploadsToComplete: 1 });
    expect(await doneBy()).toEqual({ uploadsCompleted: 1 });
    expect(await states()).toEqual(['completed']);
  });

  it('aborts what expired, at the store too, and says so for people', async () => {
    await leave(async (gateway) => {
      for (let i = 0; i < 2; i++) await put(gateway, await create(gateway, 5), Buffer.from('hello'));
    });
    await db.query("update uploads set expires_at = now() - interval '1 second'");
    const { stdout } = await runPartway(['gc', '--dry-run'], env);
    expect(stdout).toBe('uploads to expire: 2\n');
    const { code, stdout: done, stderr } = await runPartway(['gc'], env);
    expect({ code, done, stderr }).toEqual({ code: 0, done: 'uploads expired: 2\n', stderr: '' });
    expect(await states()).toEqual(['aborted: expired', 'aborted: expired']);
    expect(await storedFiles()).toEqual([]);
  });

  it('closes a creation and goes on with an abort that nobody ends', async () => {
    await leave((gateway) => create(gateway, 5), 'records.open:before');
    await leave(async (gateway) => {
      const id = await create(gateway, 5);
      await fetch(`${gateway.url}/uploads/${id}`, { method: 'DELETE' });
    }, 'store.abortMultipartUpload:before');
    await timePasses();
    expect(await doneBy('--dry-run')).toEqual({ uploadsToClose: 1, uploadsToAbort: 1 });
    expect(await doneBy()).toEqual({ uploadsClosed: 1, uploadsAborted: 1 });
    expect(await states()).toEqual(['aborted: not_created', 'aborted: requested']);
  });

  it('composes what fragments cover, and completes what that makes whole', async () => {
    const file = randomBytes(2 * MiB);
    await leave(async (gateway) => {
      await sendChunk(gateway, file, 0, MiB);
      await sendChunk(gateway, file, MiB, 2 * MiB);
    }, 'records.commitRangePart:before');
    await timePasses();
    expect(await doneBy('--dry-run')).toEqual({ uploadsToGoOnWith: 1 });
    expect(await doneBy()).toMatchObject({ partsComposed: 1, uploadsCompleted: 1 });
    expect(await states()).toEqual(['completed']);
    expect((await db.query('select from fragments')).rowCount).toBe(0);
  });

  it('retires a fragment whose sender died, and deletes the object once nothing of it can land any more', async () => {
    const file = randomBytes(2 * MiB);
    await leave((gateway) => sendChunk(gateway, file, 0, MiB), 'records.commitFragment:before');
    await timePasses();
    expect(await doneBy('--dry-run')).toEqual({ fragmentsToRetire: 1 });
    expect(await doneBy()).toEqual({ fragmentsRetired: 1 });
    expect(await storedFiles()).not.toEqual([]);
    await timePasses();
    expect(await doneBy('--dry-run')).toEqual({ fragmentsToDelete: 1 });
    expect(await doneBy()).toEqual({ fragmentsDeleted: 1 });
    expect(await storedFiles()).toEqual(['upload.json']);
  });

  it('forgets ended uploads, however many, once nobody looks at them any more', async () => {
    await leave((gateway) => create(gateway, 5));
    await db.query("update uploads set state = 'aborted', reason = 'requested', expires_at = now() - interval '1 s'");
    const { rows } = await db.query<{ column_name: string }>(
      "select column_name from information_schema.columns where table_name = 'uploads' and column_name <> 'id'",
    );
    const others = rows.map(({ column_name }) => `"${column_name}"`).join(', ');
    await db.query(
      `insert into uploads (id, ${others}) select md5(n::text), ${others} from uploads, generate_series(1, 99) as n`,
    );
    expect(await doneBy('--dry-run')).toEqual({ uploadsToForget: 100 });
    expect(await doneBy()).toEqual({ uploadsForgotten: 100 });
    expect(await states()).toEqual([]);
  });

  it('changes nothing on a dry run', async () => {
    const file = randomBytes(2 * MiB);
    await leave(async (gateway) => {
      await put(gateway, await create(gateway, 5), Buffer.from('hello'));
      await sendChunk(gateway, file, 0, MiB);
    });
    await timePasses();
    await db.query("update uploads set expires_at = now() - interval '1 second'");
    const before = await everything();
    expect(await doneBy('--dry-run')).toEqual({ uploadsToExpire: 2 });
    expect(await everything()).toEqual(before);
  });

  it('leaves for later what the store cannot do now, exit 5', async () => {
    await leave((gateway) => create(gateway, 5));
    await db.query("update uploads set expires_at = now() - interval '1 second'");
    const unreachable = { S3_ENDPOINT: 'http://127.0.0.1:1', S3_BUCKET: 'default' };
    const credentials = { S3_ACCESS_KEY_ID: 'a', S3_SECRET_ACCESS_KEY: 'b' };
    const { code, stdout, stderr } = await runPartway(['gc', '--json'], { ...env, ...unreachable, ...credentials });
    expect(code).toBe(5);
    expect(JSON.parse(stdout)).toMatchObject({ failures: [{ code: 'store_unavailable' }] });
    expect(stderr).toMatch(/^[0-9a-f]{32}: \S/);
    expect(await states()).toEqual(['aborting: expired']);
    expect(await doneBy()).toEqual({ uploadsExpired: 1 });
  });

  it('works beside a gateway with embedded Postgres, and without one', { timeout: 120_000 }, async () => {
    const PARTWAY_DATA_DIR = env.PARTWAY_DATA_DIR ?? '';
    env = { PARTWAY_DATA_DIR };
    const none = await runPartway(['gc'], { PARTWAY_DATA_DIR: join(PARTWAY_DATA_DIR, 'none') });
    expect(none).toMatchObject({ code: 2, stdout: '' });
    const gateway = await startTestGateway({ env });
    expect(await doneBy()).toEqual({});
    expect((await fetch(`${gateway.url}/readyz`)).status).toBe(200);
    await create(gateway, 5);
    await gateway.stop();
    expect(await doneBy('--dry-run')).toEqual({});
    expect(await doneBy()).toEqual({});
  });

  it('looks at no records of another version on a dry run, and brings none to its own, exit 2', async () => {
    await db.query(
      'delete from drizzle.__drizzle_migrations where id = (select max(id) from drizzle.__drizzle_migrations)',
    );
    const { code, stdout, stderr } = await runPartway(['gc', '--dry-run'], env);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toContain('Wanted: records of this version');
  });
});
