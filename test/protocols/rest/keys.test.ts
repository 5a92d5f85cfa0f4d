import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import type { Scope } from '../../../src/core/principal.ts';
import { createApiKey, type NewApiKey, revokeApiKey } from '../../../src/db/api-keys.ts';
import { Connection } from '../../../src/db/connection.ts';
import { bytesOf, problemOf, type RestClient, refused } from './rest-client.ts';
import { type RestGateway, startRestGateway } from './rest-gateway.ts';

let gateway: RestGateway;
let connection: Connection;
const clients: RestClient[] = [];

beforeAll(async () => {
  gateway = await startRestGateway('disk', { env: { PARTWAY_AUTH: 'keys', PARTWAY_BUCKETS: 'second' } });
  connection = new Connection({ url: gateway.databaseUrl, onIdleError: () => undefined });
});

afterAll(async () => {
  for (const client of clients) client.close();
  await connection?.close();
  await gateway.stop();
});

async function makeKey(restrictions: Partial<NewApiKey> = {}) {
  return createApiKey(connection, {
    tenant: 'acme',
    tenantKeyPrefix: undefined,
    name: 'test',
    scopes: ['uploads:write', 'uploads:read', 'objects:read'],
    bucket: undefined,
    keyPrefix: '',
    stagingPrefix: '.partway/',
    ...restrictions,
  });
}

function speaking(authorization: string): RestClient {
  const client = gateway.client.as({ authorization });
  clients.push(client);
  return client;
}

async function holderOf(restrictions: Partial<NewApiKey> = {}): Promise<RestClient> {
  return speaking(`Bearer ${(await makeKey(restrictions)).secret}`);
}

const routes: [method: string, path: string, body?: unknown][] = [
  ['GET', '/uploads/ID'],
  ['HEAD', '/uploads/ID'],
  ['DELETE', '/uploads/ID'],
  ['GET', '/uploads/ID/parts'],
  ['PUT', '/uploads/ID/parts/1', bytesOf(3)],
  ['POST', '/uploads/ID/parts', { parts: [{ partNumber: 1, etag: 'x' }] }],
  ['POST', '/uploads/ID/parts/sign', { partNumbers: [1] }],
  ['POST', '/uploads/ID/complete', {}],
];

/** Every verb says of the upload what it says of one that never was, and changes nothing. */
async function expectHidden(client: RestClient, owner: RestClient, id: string): Promise<void> {
  const before = await owner.look(id);
  for (const [method, path, body] of routes) {
    const answers = [];
    for (const one of [id, '0'.repeat(id.length)]) {
      const answer = await client.request(method, path.replace('ID', one), body);
      expect(`${method} ${path} ${answer.status}`).toBe(`${method} ${path} 404`);
      if (method === 'HEAD') continue;
      const { requestId: _, ...rest } = problemOf(answer);
      answers.push(rest);
    }
    expect(answers[0]).toEqual(answers[1]);
  }
  expect(await owner.look(id)).toEqual(before);
  expect((await client.list('?limit=1000')).uploads.map((upload) => upload.id)).not.toContain(id);
}

test('what a key that is bound to a prefix gives no name gets one below it', async () => {
  const client = await holderOf({ keyPrefix: 'team/' });
  const { key } = await client.create({ size: 3, metadata: { filename: 'x.bin' } });
  expect(key).toMatch(/^team\/\d{4}-\d\d-\d\d\/[0-9a-f]+\/x\.bin$/);
});

describe('an API key', () => {
  test('is wanted on every route, before a body is sent', async () => {
    for (const [method, path, body] of [
      ...routes,
      ['POST', '/uploads', {}],
      ['GET', '/uploads'],
      ['GET', '/objects/a'],
    ]) {
      const answer = await gateway.client.request(String(method), String(path), body);
      expect(answer).toMatchObject({
        status: 401,
        headers: { 'www-authenticate': 'Bearer realm="partway", Basic realm="partway"' },
      });
      if (method !== 'HEAD') expect(problemOf(answer).code).toBe('unauthorized');
    }
    const { answer, continued } = gateway.client.openPart('0'.repeat(32), 1, 3, { expect: '100-continue' });
    await refused(answer, 401, 'unauthorized');
    await expect(continued).rejects.toThrow('without 100 Continue');
  });

  test.each(['/healthz', '/readyz', '/openapi.json', '/docs'])('is not wanted at %s', async (path) => {
    expect((await gateway.client.request('GET', path)).status).toBe(200);
  });

  test('is taken as a bearer token, and as the password of anybody', async () => {
    const { secret } = await makeKey();
    const basic = (user: string) => Buffer.from(`${user}:${secret}`).toString('base64');
    for (const authorization of [
      `Bearer ${secret}`,
      `bearer  ${secret}`,
      `Basic ${basic('')}`,
      `BASIC ${basic('anybody')}`,
    ]) {
      expect((await speaking(authorization).request('GET', '/uploads')).status).toBe(200);
    }
  });

  test('is refused in any other form', async () => {
    const { secret } = await makeKey();
    const base64 = (text: string) => Buffer.from(text).toString('base64');
    for (const authorization of [
      secret,
      'Bearer',
      `Bearer ${secret}x`,
      `Bearer ${secret.slice(0, -1)}`,
      `Bearer ${secret.toUpperCase()}`,
      `Bearer a ${secret}`,
      `Digest ${secret}`,
      `Basic ${secret}`,
      `Basic ${base64(secret)}`,
      `Basic ${base64(`${secret}:`)}`,
      `Basic ${base64(`a:b:${secret}`)}`,
      "Bearer ' or 1=1 --",
      '%00',
    ]) {
      await refused(speaking(authorization).request('GET', '/uploads'), 401, 'unauthorized');
    }
  });

  test('that is revoked is refused: at once where it is new, and soon where it was in use', async () => {
    const [unused, used] = [await makeKey(), await makeKey()];
    const client = speaking(`Bearer ${used.secret}`);
    expect((await client.request('GET', '/uploads')).status).toBe(200);
    for (const { key } of [unused, used]) expect(await revokeApiKey(connection, key.id)).toBe(true);
    await refused(speaking(`Bearer ${unused.secret}`).request('GET', '/uploads'), 401, 'unauthorized');
    await vi.waitFor(async () => refused(client.request('GET', '/uploads'), 401, 'unauthorized'), {
      timeout: 20_000,
      interval: 250,
    });
  });

  test.each<[Scope, [method: string, path: string, body?: unknown][]]>([
    ['uploads:read', [['POST', '/uploads', { key: 'a' }], ['GET', '/objects/a'], ...writes()]],
    [
      'uploads:write',
      [
        ['GET', '/uploads'],
        ['GET', '/uploads/ID'],
        ['GET', '/uploads/ID/parts'],
        ['GET', '/objects/a'],
      ],
    ],
    ['objects:read', [['GET', '/uploads'], ['GET', '/uploads/ID'], ['POST', '/uploads', {}], ...writes()]],
  ])('with the scope %s alone may do nothing else', async (scope, others) => {
    const owner = await holderOf();
    const { id } = await owner.create({ key: 'scoped', size: 3 });
    const client = await holderOf({ scopes: [scope] });
    for (const [method, path, body] of others) {
      const problem = await refused(client.request(method, path.replace('ID', id), body), 403, 'forbidden');
      expect(problem.scope).not.toBe(scope);
    }
    expect(await owner.look(id)).toMatchObject({ state: 'open', receivedBytes: 0 });
  });

  test.each<[Scope, string, string]>([
    ['uploads:read', 'GET', '/uploads'],
    ['uploads:write', 'POST', '/uploads'],
    ['objects:read', 'GET', '/objects/readable'],
  ])('with the scope %s may %s %s', async (scope, method, path) => {
    const owner = await holderOf();
    const { id } = await owner.create({ key: 'readable', size: 0 });
    await owner.complete(id);
    const client = await holderOf({ scopes: [scope] });
    const { status } = await client.request(method, path, method === 'POST' ? {} : undefined);
    expect([200, 201]).toContain(status);
  });
});

function writes(): [method: string, path: string, body?: unknown][] {
  return routes.filter(([method]) => method !== 'GET' && method !== 'HEAD');
}

describe('a key for one prefix', () => {
  test('writes and reads below it alone', async () => {
    const client = await holderOf({ keyPrefix: 'reports/' });
    const { id } = await client.create({ key: 'reports/a', size: 3 });
    await client.putPart(id, 1, Buffer.from('abc'));
    await client.complete(id);
    expect((await client.read('reports/a')).text).toBe('abc');
    for (const key of ['a', 'report', 'reports', 'Reports/a', 'other/reports/a']) {
      const problem = await refused(client.request('POST', '/uploads', { key }), 403, 'forbidden');
      expect(problem.keyPrefix).toBe('reports/');
      await refused(client.read(key), 403, 'forbidden');
    }
    await refused(client.request('POST', '/uploads', { key: 'reports/../a' }), 400, 'invalid_request');
  });

  test('does not see what its tenant has elsewhere', async () => {
    const owner = await holderOf();
    const { id } = await owner.create({ key: 'elsewhere', size: 3 });
    await expectHidden(await holderOf({ keyPrefix: 'reports/' }), owner, id);
  });
});

describe('a key for one bucket', () => {
  test('writes there, named or not, and nowhere else', async () => {
    const client = await holderOf({ bucket: 'second' });
    expect(await client.create({ key: 'a' })).toMatchObject({ bucket: 'second' });
    expect(await client.create({ key: 'a', bucket: 'second' })).toMatchObject({ bucket: 'second' });
    await refused(client.request('POST', '/uploads', { key: 'a', bucket: 'default' }), 403, 'forbidden');
    await refused(client.request('GET', '/objects/a?bucket=default'), 403, 'forbidden');
  });

  test('does not see what its tenant has elsewhere', async () => {
    const owner = await holderOf();
    const { id } = await owner.create({ key: 'default', size: 3 });
    await expectHidden(await holderOf({ bucket: 'second' }), owner, id);
  });
});

describe('two tenants', () => {
  test('do not see each other’s uploads', async () => {
    const [ours, theirs] = [await holderOf({ tenant: 'ours' }), await holderOf({ tenant: 'theirs' })];
    const { id } = await theirs.create({ key: 'secret', size: 3 });
    await expectHidden(ours, theirs, id);
    await theirs.putPart(id, 1, bytesOf(3));
    await expectHidden(ours, theirs, id);
    await theirs.complete(id);
    await expectHidden(ours, theirs, id);
  });

  test('have objects of their own under one name', async () => {
    const pair = [await holderOf({ tenant: 'ours' }), await holderOf({ tenant: 'theirs' })];
    for (const [index, client] of pair.entries()) {
      const { id, key } = await client.create({ key: 'same', size: 1 });
      expect(key).toBe('same');
      await client.putPart(id, 1, Buffer.from(String(index)));
      await client.complete(id);
    }
    expect((await pair[0]!.read('same')).text).toBe('0');
    expect((await pair[1]!.read('same')).text).toBe('1');
    for (const key of ['theirs/same', 'same/', '../theirs/same', '/theirs/same']) {
      expect((await pair[0]!.read(key)).status).not.toBe(200);
    }
  });

  test('may use one idempotency key for what they like', async () => {
    const [ours, theirs] = [await holderOf({ tenant: 'ours' }), await holderOf({ tenant: 'theirs' })];
    const headers = { 'idempotency-key': 'the same' };
    const first = await ours.create({ key: 'ours', size: 1 }, headers);
    const second = await theirs.create({ key: 'theirs', size: 2 }, headers);
    expect(second.id).not.toBe(first.id);
    expect(await ours.create({ key: 'ours', size: 1 }, headers)).toMatchObject({ id: first.id });
  });

  test('do not disturb each other’s parts', async () => {
    const [ours, theirs] = [await holderOf({ tenant: 'ours' }), await holderOf({ tenant: 'theirs' })];
    const { id } = await theirs.create({ key: 'undisturbed', size: 6 });
    gateway.probe.forget();
    const exchange = theirs.openPart(id, 1, 6);
    await exchange.write(bytesOf(3));
    await gateway.probe.nth('uploadPart', 1);
    await refused(ours.request('PUT', `/uploads/${id}/parts/1`, bytesOf(6)), 404, 'upload_not_found');
    exchange.request.end(bytesOf(3));
    expect(await exchange.answer).toMatchObject({ status: 200 });
  });
});
