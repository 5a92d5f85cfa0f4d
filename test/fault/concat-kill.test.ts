import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { expectOffset, locationOf, TusClient } from '../protocols/tus/tus-client.ts';
import { until } from '../support/chunk-client.ts';
import { startTestGateway, storeSettings, type TestGateway } from '../support/gateway.ts';
import { createTestDatabase, type TestDatabase } from '../support/postgres.ts';
import { TestReaper } from '../support/remains.ts';
import { createBucket, useMinio } from '../support/stores.ts';
import { readStored, unfinished } from './stored-object.ts';
import { sha256 } from './upload-client.ts';

const MiB = 1024 ** 2;
const minio = await useMinio();

/** The first and the end of the last are copied; what is between is joined. */
const pieces = [randomBytes(6 * MiB), randomBytes(2 * MiB), randomBytes(7 * MiB)];
const file = Buffer.concat(pieces);

describe.runIf(minio)('kill -9 while uploads are put together', () => {
  const store = minio!;
  let started: AsyncDisposableStack;
  let database: TestDatabase;
  let db: pg.Client;
  let bucket: string;
  let gateway: TestGateway;
  let reaper: TestReaper;
  let client: TusClient;

  beforeAll(async () => {
    started = new AsyncDisposableStack();
    database = await createTestDatabase();
    started.defer(() => database.drop());
    db = new pg.Client({ connectionString: database.url });
    await db.connect();
    started.defer(() => db.end());
    bucket = await createBucket(store);
    reaper = started.use(new TestReaper({ store, bucket, databaseUrl: database.url }));
    gateway = await startTestGateway({ env: { DATABASE_URL: database.url, ...storeSettings(store, bucket) } });
    started.defer(async () => void (await gateway.stop()));
    client = new TusClient(gateway.url);
    started.defer(() => client.close());
  });

  afterAll(() => started.disposeAsync());

  async function partials(): Promise<string[]> {
    const paths: string[] = [];
    for (const piece of pieces) {
      const path = await client.upload(piece.length, { 'upload-concat': 'partial' });
      expectOffset(await client.patch(path, 0, piece), piece.length);
      paths.push(path);
    }
    return paths;
  }

  const createFinal = (paths: readonly string[]) => client.create({ 'upload-concat': `final;${paths.join(' ')}` });

  async function dies(): Promise<void> {
    expect((await gateway.exited).signal).toBe('SIGKILL');
    await gateway.restart();
  }

  async function finals(): Promise<{ id: string; state: string; storeKey: string }[]> {
    const { rows } = await db.query(
      `select id, state, store_key as "storeKey" from uploads where sources is not null order by created_at`,
    );
    return rows;
  }

  async function expectMade(): Promise<void> {
    await until('the object is there', 45_000, async () => {
      await reaper.round();
      return (await finals()).every(({ state }) => state === 'completed') ? true : undefined;
    });
    const [final, ...others] = await finals();
    expect(others).toEqual([]);
    expect(sha256(await readStored(store, bucket, final!.storeKey))).toBe(sha256(file));
    expect(await unfinished(store, bucket, final!.storeKey)).toEqual([]);
    await reaper.reapAll();
  }

  test.each([
    'records.open:after',
    'records.beginAttempt:after',
    'store.copyPart:before',
    'store.copyPart:after',
    'store.getObject:after',
    'store.uploadPart:before',
    'store.uploadPart:after',
    'records.commitPart:before',
    'records.commitPart:after:2',
    'records.commitPart:after:3',
    'records.claimCompletion:after',
    'store.completeMultipartUpload:before',
    'store.completeMultipartUpload:after',
    'records.finishCompletion:before',
    'records.finishCompletion:after',
  ])(
    'at %s: the reaper goes on',
    async (killAt) => {
      const paths = await partials();
      await gateway.restart({ killAt });
      await Promise.all([expect(createFinal(paths)).rejects.toThrow(), dies()]);
      await expectMade();
    },
    120_000,
  );

  test('before the store was asked: there is nothing', async () => {
    const paths = await partials();
    await gateway.restart({ killAt: 'records.insert:after' });
    await Promise.all([expect(createFinal(paths)).rejects.toThrow(), dies()]);
    await reaper.round();
    expect(await finals()).toMatchObject([{ state: 'aborted' }]);
    await reaper.reapAll();
  });

  test.each([
    'store.completeMultipartUpload:after',
    'records.finishCompletion:before',
    'records.finishCompletion:after',
  ])(
    'at the last byte of what is waited for, at %s: the reaper goes on',
    async (killAt) => {
      const paths = await partials();
      const late = await client.upload(pieces[2]!.length, { 'upload-concat': 'partial' });
      locationOf(await createFinal([...paths.slice(0, 2), late]));
      await gateway.restart({ killAt });
      await Promise.all([expect(client.patch(late, 0, pieces[2]!)).rejects.toThrow(), dies()]);
      await expectMade();
    },
    120_000,
  );
});
