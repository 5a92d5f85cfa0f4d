import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { ChunkClient, chunksOf, until } from '../support/chunk-client.ts';
import { startTestGateway, storeSettings, type TestGateway } from '../support/gateway.ts';
import { createTestDatabase, type TestDatabase } from '../support/postgres.ts';
import { TestReaper } from '../support/remains.ts';
import { createBucket, useMinio } from '../support/stores.ts';
import { readStored, unfinished } from './stored-object.ts';
import { look, sha256 } from './upload-client.ts';

const MiB = 1024 ** 2;
const minio = await useMinio();

/** A slot of three fragments and one of two. */
const small = { chunkBytes: 3 * MiB, file: randomBytes(12 * MiB + 4711) };
/** Two slots that are piped through, and a short one. */
const large = { chunkBytes: 5 * MiB, file: randomBytes(10 * MiB + 4711) };

describe.runIf(minio)('kill -9 while ranges are sent, and the gateway starts again', () => {
  const store = minio!;
  let started: AsyncDisposableStack;
  let database: TestDatabase;
  let bucket: string;
  let gateway: TestGateway;
  let reaper: TestReaper;
  let key: string;
  let uploads = 0;

  beforeAll(async () => {
    started = new AsyncDisposableStack();
    database = await createTestDatabase();
    started.defer(() => database.drop());
    bucket = await createBucket(store);
    reaper = started.use(new TestReaper({ store, bucket, databaseUrl: database.url }));
    gateway = await startTestGateway({ env: { DATABASE_URL: database.url, ...storeSettings(store, bucket) } });
    started.defer(async () => void (await gateway.stop()));
  });

  afterAll(() => started.disposeAsync());

  beforeEach(() => {
    key = `object-${++uploads}`;
  });

  function clientOf(file: Buffer<ArrayBuffer>): ChunkClient {
    return new ChunkClient(file, () => `${gateway.url}/objects/${key}`);
  }

  async function dies(): Promise<void> {
    expect((await gateway.exited).signal).toBe('SIGKILL');
    await gateway.restart();
  }

  async function expectObject(file: Buffer): Promise<void> {
    expect(sha256(await readStored(store, bucket, key))).toBe(sha256(file));
    expect(await unfinished(store, bucket, key)).toEqual([]);
    await reaper.reapAll();
  }

  async function expectCarriedOn(killAt: string, { chunkBytes, file }: typeof small): Promise<void> {
    await gateway.restart({ killAt });
    const client = clientOf(file);
    const [last] = await Promise.all([client.sendAll(chunkBytes), dies()]);
    expect(last?.state).toBe('completed');
    await expectObject(file);
  }

  test.each(['records.insert:after', 'store.createMultipartUpload:before', 'records.open:after'])(
    'opening, at %s: nobody who asks is told that it is gone, and the client carries on',
    async (killAt) => {
      const { chunkBytes, file } = small;
      await gateway.restart({ killAt });
      const client = clientOf(file);
      const [first] = await Promise.all([client.send({ from: 0, to: chunkBytes }), dies()]);
      expect(first).toBeUndefined();
      expect((await client.ask())?.missing ?? 'not there yet').toEqual(
        killAt === 'records.open:after' ? [{ offset: 0, size: file.length }] : 'not there yet',
      );
      expect((await client.sendAll(chunkBytes))?.state).toBe('completed');
      await expectObject(file);
    },
    120_000,
  );

  test.each([
    'records.decideLayout:before',
    'records.decideLayout:after',
    'records.beginFragment:before:2',
    'records.beginFragment:after:2',
    'store.putObject:before:2',
    'store.putObject:after:2',
    'records.commitFragment:before:2',
    'records.commitFragment:after:2',
    // The one that covers a slot.
    'records.commitFragment:after:3',
    'store.uploadPart:before',
    'store.uploadPart:after',
    'records.commitRangePart:before',
    'records.commitRangePart:after',
    'store.deleteObjects:before',
    'store.deleteObjects:after',
    'records.forgetFragments:before',
    'records.forgetFragments:after',
    // The last one.
    'records.commitFragment:before:5',
    'records.commitFragment:after:5',
    'store.uploadPart:after:2',
    'records.commitRangePart:after:2',
    'records.claimCompletion:after',
    'store.completeMultipartUpload:before',
    'store.completeMultipartUpload:after',
    'records.finishCompletion:before',
    'records.finishCompletion:after',
  ])('in fragments, at %s: the client carries on', (killAt) => expectCarriedOn(killAt, small), 120_000);

  test.each([
    'records.beginRangePart:before:2',
    'records.beginRangePart:after:2',
    'store.uploadPart:before:2',
    'store.uploadPart:after:2',
    'records.commitRangePart:before:2',
    'records.commitRangePart:after:2',
    'records.commitRangePart:after:3',
    'store.completeMultipartUpload:after',
  ])('in whole slots, at %s: the client carries on', (killAt) => expectCarriedOn(killAt, large), 120_000);

  test.each([
    ['records.beginFragment:after:2', small],
    ['records.commitFragment:after:3', small],
    ['records.claimCompletion:after', small],
    ['records.beginRangePart:after:2', large],
  ] as const)(
    'at %s: nobody waits for the leases of the dead, were they to last for hours',
    async (killAt, { chunkBytes, file }) => {
      await gateway.restart({ killAt, leaseMs: 3_600_000 });
      const client = clientOf(file);
      const [last] = await Promise.all([client.sendAll(chunkBytes), dies()]);
      expect(last?.state).toBe('completed');
      await expectObject(file);
    },
    120_000,
  );

  test.each([
    'records.commitFragment:after:5',
    'records.claimCompletion:after',
    'store.completeMultipartUpload:after',
    'records.finishCompletion:before',
  ])(
    'at the last byte, at %s: the reaper completes when nobody asks again',
    async (killAt) => {
      const { chunkBytes, file } = small;
      await gateway.restart({ killAt });
      const client = clientOf(file);
      const chunks = chunksOf(file, chunkBytes);
      const { id } = await client.sendUntilStored(chunks[0]!);
      for (const chunk of chunks.slice(1, -1)) await client.sendUntilStored(chunk);
      const [last] = await Promise.all([client.send(chunks.at(-1)!), dies()]);
      expect(last).toBeUndefined();
      await until('the object is there', 45_000, async () => {
        await reaper.round();
        return (await look(gateway.url, id)).state === 'completed' ? true : undefined;
      });
      await expectObject(file);
    },
    120_000,
  );
});
