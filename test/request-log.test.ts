import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTestGateway, type TestGateway } from './support/gateway.ts';
import { createTestDatabase, type TestDatabase } from './support/postgres.ts';

describe('the log of requests', () => {
  let database: TestDatabase;
  let gateway: TestGateway;

  beforeAll(async () => {
    database = await createTestDatabase();
    gateway = await startTestGateway({ env: { DATABASE_URL: database.url } });
  });

  afterAll(() => database.drop());

  it('leaves out health checks that find all well, and shows those that do not', async () => {
    const ask = async (path: string) => (await fetch(`${gateway.url}${path}`)).status;
    expect(await Promise.all(['/healthz', '/readyz', '/uploads'].map(ask))).toEqual([200, 200, 200]);
    await gateway.restart({ env: { S3_BUCKET: 'uploads', S3_ENDPOINT: 'http://127.0.0.1:1' } });
    expect(await ask('/readyz')).toBe(503);
    await gateway.stop();
    const lines = gateway.log().matchAll(/^\{.*"msg":"request"\}$/gm);
    const requests = [...lines].map(([line]) => JSON.parse(line) as { path: string; status: number });
    expect(requests).toMatchObject([
      { path: '/uploads', status: 200 },
      { path: '/readyz', status: 503 },
    ]);
  });
});
