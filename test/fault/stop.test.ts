import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { RangeClient } from '../protocols/content-range/range-client.ts';
import { Wire } from '../protocols/rest/wire.ts';
import { until } from '../support/chunk-client.ts';
import { startTestGateway, storeSettings, type TestGateway } from '../support/gateway.ts';
import { createTestDatabase, type TestDatabase } from '../support/postgres.ts';
import { createBucket, useMinio } from '../support/stores.ts';

const MiB = 1024 ** 2;
const minio = await useMinio();

describe.runIf(minio)('a gateway that is told to stop while bodies come', () => {
  let database: TestDatabase;
  let env: Record<string, string>;
  let gateway: TestGateway;

  beforeAll(async () => {
    database = await createTestDatabase();
    env = {
      DATABASE_URL: database.url,
      ...storeSettings(minio!, await createBucket(minio!)),
      PARTWAY_SHUTDOWN_GRACE: '1s',
    };
    gateway = await startTestGateway({ env });
  });

  afterAll(async () => {
    await gateway?.stop();
    await database?.drop();
  });

  test.each([
    ['a piece of a slot', 3 * MiB, 2 * MiB],
    ['the second of its slots', 16 * MiB, 11 * MiB],
  ])('keeps what has come of %s, and says so', async (_, sizeBytes, sentBytes) => {
    const file = randomBytes(sizeBytes);
    const path = `/objects/stopped-${sizeBytes}`;
    const wire = new Wire(gateway.url);
    const hanging = wire.open({
      method: 'PUT',
      path,
      headers: { 'content-length': String(sizeBytes), 'content-range': `bytes 0-${sizeBytes - 1}/${sizeBytes + MiB}` },
    });
    await hanging.write(file.subarray(0, sentBytes));
    await until('the upload is open', 30_000, async () => {
      const { status } = await new RangeClient(wire, path).ask();
      return status === 200 ? true : undefined;
    });
    process.kill(gateway.pid, 'SIGTERM');
    expect((await hanging.answer).status).toBe(503);
    expect(await gateway.exited).toEqual({ code: 0, signal: null });
    await gateway.restart();
    wire.close();
    const again = new Wire(gateway.url);
    const answer = await new RangeClient(again, path).ask();
    expect(JSON.parse(answer.text)).toMatchObject({ state: 'open', offset: sentBytes });
    again.close();
  });
});
