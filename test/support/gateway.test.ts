import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type GatewayOptions, startTestGateway, type TestGateway } from './gateway.ts';
import { createTestDatabase, type TestDatabase } from './postgres.ts';

let database: TestDatabase;
let gateway: TestGateway;

beforeEach(async () => {
  database = await createTestDatabase();
});

afterEach(async () => {
  await gateway.stop();
  await database.drop();
});

async function start(options: GatewayOptions = {}): Promise<void> {
  gateway = await startTestGateway({ ...options, env: { DATABASE_URL: database.url, ...options.env } });
}

/** The id of a new upload of three bytes. */
async function createUpload(): Promise<string> {
  const answer = await fetch(`${gateway.url}/uploads`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ key: 'a.txt', size: 3 }),
  });
  expect(answer.status).toBe(201);
  return ((await answer.json()) as { id: string }).id;
}

function putPart(id: string): Promise<Response> {
  return fetch(`${gateway.url}/uploads/${id}/parts/1`, { method: 'PUT', body: 'abc' });
}

async function listParts(id: string): Promise<number> {
  const answer = await fetch(`${gateway.url}/uploads/${id}/parts`);
  return ((await answer.json()) as { parts: unknown[] }).parts.length;
}

describe('a gateway under test', () => {
  test('goes on where it was after kill -9, at the same place', async () => {
    await start();
    const { url, pid } = gateway;
    const id = await createUpload();
    expect((await putPart(id)).status).toBe(200);
    await gateway.kill9();
    expect((await gateway.exited).signal).toBe('SIGKILL');
    await gateway.restart();
    expect(gateway.url).toBe(url);
    expect(gateway.pid).not.toBe(pid);
    expect(await listParts(id)).toBe(1);
  });

  test('stops in its own time', async () => {
    await start();
    expect(await gateway.stop()).toEqual({ code: 0, signal: null });
    expect(gateway.log()).toContain('stopping');
  });

  test('says why it did not start', async () => {
    await start();
    await expect(startTestGateway({ env: { PARTWAY_PORT: 'seven' } })).rejects.toThrow('PARTWAY_PORT');
  });

  test.each([
    ['store.uploadPart:before', 0],
    ['store.uploadPart:after', 0],
    ['records.commitPart:before', 0],
    ['records.commitPart:after', 1],
  ])('kills itself at %s', async (killAt, parts) => {
    await start({ killAt });
    const id = await createUpload();
    await expect(putPart(id)).rejects.toThrow();
    expect(await gateway.exited).toEqual({ code: null, signal: 'SIGKILL' });
    await gateway.restart();
    expect(await listParts(id)).toBe(parts);
  });

  test('kills itself at the nth call', async () => {
    await start({ killAt: 'store.uploadPart:after:2' });
    const id = await createUpload();
    expect((await putPart(id)).status).toBe(200);
    await expect(putPart(id)).rejects.toThrow();
    expect((await gateway.exited).signal).toBe('SIGKILL');
  });

  test('refuses a step that does not exist', async () => {
    await start();
    const options = { env: { DATABASE_URL: database.url }, killAt: 'store.uploadPrat:after' };
    await expect(startTestGateway(options)).rejects.toThrow('store has no uploadPrat');
  });
});
