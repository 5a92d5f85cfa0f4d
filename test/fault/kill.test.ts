import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { startTestGateway, storeSettings, type TestGateway } from '../support/gateway.ts';
import { createTestDatabase, type TestDatabase } from '../support/postgres.ts';
import { createBucket, useMinio } from '../support/stores.ts';
import { readStored, unfinished } from './stored-object.ts';
import { abort, carryOn, complete, content, createUpload, look, persist, putPart, sha256 } from './upload-client.ts';

const minio = await useMinio();

describe.runIf(minio)('kill -9, and the gateway starts again', () => {
  const store = minio!;
  let database: TestDatabase;
  let bucket: string;
  let gateway: TestGateway;

  beforeEach(async () => {
    database = await createTestDatabase();
    bucket = await createBucket(store);
  });

  afterEach(async () => {
    await gateway.stop();
    await database.drop();
  });

  async function start(killAt: string): Promise<void> {
    gateway = await startTestGateway({
      env: { DATABASE_URL: database.url, ...storeSettings(store, bucket) },
      killAt,
    });
  }

  async function dies(call: Promise<unknown>): Promise<void> {
    await expect(call).rejects.toThrow();
    expect((await gateway.exited).signal).toBe('SIGKILL');
    await gateway.restart();
  }

  async function expectObject(key: string): Promise<void> {
    expect(sha256(await readStored(store, bucket, key))).toBe(sha256(content));
    expect(await unfinished(store, bucket, key)).toEqual([]);
  }

  test.each(['records.insert:after', 'store.createMultipartUpload:after', 'records.open:before', 'records.open:after'])(
    'creating, at %s: the same Idempotency-Key gets an upload in the end',
    async (killAt) => {
      await start(killAt);
      await dies(createUpload(gateway.url, 'created'));
      const answer = await persist(() =>
        fetch(`${gateway.url}/uploads`, {
          method: 'POST',
          headers: { 'content-type': 'application/json', 'idempotency-key': 'created' },
          body: JSON.stringify({ key: 'created', size: content.length, partSize: 5 * 1024 * 1024 }),
        }),
      );
      expect(answer.status).toBe(201);
      const { id } = (await answer.json()) as { id: string };
      expect((await carryOn(gateway.url, id)).status).toBe(200);
      expect(sha256(await readStored(store, bucket, 'created'))).toBe(sha256(content));
    },
    120_000,
  );

  test.each([
    'records.beginAttempt:after:2',
    'store.uploadPart:before:2',
    'store.uploadPart:after:2',
    'records.commitPart:before:2',
    'records.commitPart:after:2',
  ])(
    'storing the second part, at %s: nothing acknowledged is lost and the rest can be sent',
    async (killAt) => {
      await start(killAt);
      const { id } = await createUpload(gateway.url, 'parts');
      expect((await putPart(gateway.url, id, 1)).status).toBe(200);
      await dies(putPart(gateway.url, id, 2));
      const answer = await fetch(`${gateway.url}/uploads/${id}/parts`);
      const { parts } = (await answer.json()) as { parts: { partNumber: number }[] };
      expect(parts.map(({ partNumber }) => partNumber)).toContain(1);
      expect((await carryOn(gateway.url, id)).status).toBe(200);
      await expectObject('parts');
    },
    120_000,
  );

  test.each([
    'records.claimCompletion:after',
    'store.completeMultipartUpload:before',
    'store.completeMultipartUpload:after',
    'records.finishCompletion:before',
    'records.finishCompletion:after',
  ])(
    'completing, at %s: the repeat gets the one object',
    async (killAt) => {
      await start(killAt);
      const { id } = await createUpload(gateway.url, 'completed');
      for (const partNumber of [1, 2, 3]) expect((await putPart(gateway.url, id, partNumber)).status).toBe(200);
      await dies(complete(gateway.url, id));
      const answer = await persist(() => complete(gateway.url, id));
      expect(answer.status).toBe(200);
      const again = await complete(gateway.url, id);
      expect(await again.json()).toEqual(await answer.json());
      await expectObject('completed');
    },
    120_000,
  );

  test.each(['records.claimCompletion:after', 'store.completeMultipartUpload:after'])(
    'completing, at %s: the reaper finishes it when nobody asks again',
    async (killAt) => {
      await start(killAt);
      const { id } = await createUpload(gateway.url, 'forgotten');
      for (const partNumber of [1, 2, 3]) expect((await putPart(gateway.url, id, partNumber)).status).toBe(200);
      await dies(complete(gateway.url, id));
      await expect.poll(async () => (await look(gateway.url, id)).state, { timeout: 45_000 }).toBe('completed');
      await expectObject('forgotten');
    },
    120_000,
  );

  test.each([
    'records.claimAbort:after',
    'store.abortMultipartUpload:before',
    'store.abortMultipartUpload:after',
    'records.finishAbort:before',
  ])(
    'aborting, at %s: nothing of it stays at the store',
    async (killAt) => {
      await start(killAt);
      const { id } = await createUpload(gateway.url, 'aborted');
      expect((await putPart(gateway.url, id, 1)).status).toBe(200);
      await dies(abort(gateway.url, id));
      await expect.poll(async () => (await look(gateway.url, id)).state, { timeout: 45_000 }).toBe('aborted');
      expect(await unfinished(store, bucket, 'aborted')).toEqual([]);
      expect((await abort(gateway.url, id)).status).toBe(204);
    },
    120_000,
  );
});
