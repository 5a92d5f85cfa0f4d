import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { UploadError } from '../../src/core/errors.ts';
import type { UploadRecords } from '../../src/core/upload-records.ts';
import { Connection } from '../../src/db/connection.ts';
import { clusterIn } from '../../src/db/embedded/cluster.ts';
import { findPostmaster } from '../../src/db/embedded/pid-file.ts';
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../src/db/embedded-postgres.ts';
import { migrate } from '../../src/db/migrate.ts';
import { News } from '../../src/db/news.ts';
import { createRecords } from '../../src/db/records.ts';
import { leaseMs, look, newName, newUpload, openUpload } from './records-under-test.ts';

let folder: string;
let server: EmbeddedPostgres;
let connection: Connection;
let news: News;
let records: UploadRecords;
const idleErrors: Error[] = [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'partway-outage-'));
  server = await startEmbeddedPostgres({ dataDir: folder });
  await migrate(server.url);
  connection = new Connection({ url: server.url, onIdleError: (error) => idleErrors.push(error) });
  news = new News(server.url);
  await news.start();
  records = createRecords(connection, news);
});
afterAll(async () => {
  await news.stop();
  await connection.close();
  await server.stop();
  await rm(folder, { recursive: true, force: true, maxRetries: 5 });
});

/** As a power cut would end it. Whoever owns the embedded server starts it again: `untilBack` waits for that. */
async function killServer(): Promise<{ untilBack(): Promise<void> }> {
  const killed = await findPostmaster(clusterIn(folder));
  process.kill(killed!.pid, 'SIGKILL');
  const isBack = async () => {
    const { pid, port } = (await findPostmaster(clusterIn(folder))) ?? {};
    if (port === undefined || pid === killed!.pid) return false;
    return records.check().then(
      () => true,
      () => false,
    );
  };
  return {
    untilBack: async () => {
      await vi.waitUntil(isBack, { timeout: 60_000, interval: 20 });
    },
  };
}

async function expectAway(work: Promise<unknown>): Promise<void> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(UploadError);
  expect(error).toMatchObject({
    code: 'records_unavailable',
    message: 'The records cannot be reached. Try again.',
    details: {},
    retryAfterSeconds: 2,
  });
}

/** Somebody holds the upload's row until the server ends; resolves with a look at who waits for it. */
async function lockRow(id: string): Promise<{ untilWaiting(count: number): Promise<void> }> {
  const holder = new pg.Client({ connectionString: server.url });
  holder.on('error', () => undefined);
  await holder.connect();
  await holder.query('begin');
  await holder.query('select 1 from uploads where id = $1 for update', [id]);
  // Not through the holder: within a transaction the view does not change.
  const waiting = async () =>
    (await connection.pool.query("select from pg_stat_activity where wait_event_type = 'Lock'")).rowCount;
  return {
    untilWaiting: async (count) => {
      await vi.waitUntil(async () => (await waiting()) === count, { timeout: 10_000, interval: 5 });
    },
  };
}

describe('records that are killed', () => {
  it('fail the calls under way as passing, undo them, and work again when they are back', async () => {
    const upload = await openUpload(records, { sizeBytes: 10 });
    const { untilWaiting } = await lockRow(upload.id);
    const statement = records.markSigned(upload.id);
    const transaction = records.claimAbort({ id: upload.id, claimId: newName(), leaseMs, reason: 'requested' });
    const outcomes = Promise.all([expectAway(statement), expectAway(transaction)]);
    await untilWaiting(2);
    const { untilBack } = await killServer();
    await outcomes;
    await untilBack();
    expect(await look(records, upload)).toEqual(upload);
    expect(await records.markSigned(upload.id)).toBe(true);
  });

  it('end no process by the connections that were idle', async () => {
    await Promise.all([records.check(), records.check(), records.check()]);
    idleErrors.length = 0;
    const { untilBack } = await killServer();
    await vi.waitUntil(() => idleErrors.length > 0, { timeout: 10_000, interval: 5 });
    await untilBack();
  });

  it('are heard of again by whoever waits for news', async () => {
    const attemptId = newName();
    const heard: string[] = [];
    news.onNews(({ id }) => heard.push(id));
    const { untilBack } = await killServer();
    await untilBack();
    const isHeard = async () => {
      await connection.pool.query('select pg_notify($1, $2)', ['partway_attempts', `yield ${attemptId}`]);
      return heard.includes(attemptId);
    };
    await vi.waitUntil(isHeard, { timeout: 30_000, interval: 20 });
  });
});

describe('a fault of a statement', () => {
  it('is a bug, and tells neither the statement nor its parameters', async () => {
    const upload = newUpload({ metadata: { filename: 'private.txt' } });
    await records.insert(upload);
    const error = await records.insert({ ...upload, token: 'the-secret-token' }).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect(error).toBeInstanceOf(Error);
    expect(error).not.toBeInstanceOf(UploadError);
    const { message } = error as Error;
    expect(message).toMatch(/^records: 23505 /);
    expect(message).not.toMatch(/insert into|private\.txt|the-secret-token/);
  });

  it('leaves no transaction behind', async () => {
    const failing = connection.transaction(async (tx) => {
      await tx.execute("create table left_behind as select 'x' as value");
      await tx.execute('select 1 / 0');
    });
    await expect(failing).rejects.toThrow('records: 22012 division by zero');
    const { rows } = await connection.pool.query("select to_regclass('left_behind') as found");
    expect(rows).toEqual([{ found: null }]);
  });
});

describe('news whose connection comes up but cannot listen', () => {
  it('close it, and start again on another', async () => {
    const failing = vi.spyOn(pg.Client.prototype, 'query').mockRejectedValueOnce(new Error('no listening now'));
    const second = new News(server.url);
    await second.start();
    expect(failing).toHaveBeenCalledTimes(1);
    failing.mockRestore();
    const listeners = async () => {
      const { rows } = await connection.pool.query<{ query: string }>(
        "select query from pg_stat_activity where application_name = 'partway-news'",
      );
      return rows.map(({ query }) => query);
    };
    // One of them is the news that all tests have.
    const listening = 'listen partway_attempts';
    await vi.waitFor(async () => expect(await listeners()).toEqual([listening, listening]), { timeout: 10_000 });
    await second.stop();
  });
});

describe('records that are stopped', () => {
  it('are away for every call, and for news that start then', async () => {
    const upload = await openUpload(records);
    await server.stop();
    await expectAway(records.check());
    await expectAway(records.find(upload.tenant, upload.id));
    await expectAway(records.insert(newUpload()));
    await expectAway(records.claimDue({ claimId: newName(), leaseMs, limit: 1 }));
    await expectAway(migrate(server.url));
    const late = new News(server.url);
    await late.start();
    await late.stop();
  });
});
