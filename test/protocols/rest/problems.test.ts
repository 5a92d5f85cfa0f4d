import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { StoreError } from '../../../src/core/object-store.ts';
import { sendHalf } from './hanging-part.ts';
import { sayRaw } from './raw-socket.ts';
import { bytesOf, problemOf, refused } from './rest-client.ts';
import { availableStores, type RestGateway, startRestGateway } from './rest-gateway.ts';
import { openTunnel, type Tunnel } from './tunnel.ts';

const hasS3 = (await availableStores()).includes('minio');

function placeOf(url: string): { host: string; port: number } {
  const { hostname, port } = new URL(url);
  return { host: hostname, port: Number(port) };
}

/** Every call that needs what is away: told to come again, in the head and in the body. */
async function expectAway(
  gateway: RestGateway,
  code: 'records_unavailable' | 'store_unavailable',
  calls: readonly (readonly [method: string, path: string, body?: unknown])[],
): Promise<void> {
  for (const [method, path, body] of calls) {
    const answer = await gateway.client.request(method, path, body);
    expect(`${method} ${path} ${answer.status} ${answer.text.match(/"code":"\w+"/)}`).toBe(
      `${method} ${path} 503 "code":"${code}"`,
    );
    expect(problemOf(answer).retryAfter).toBe(2);
    expect(answer.headers['retry-after']).toBe('2');
  }
}

describe('while the records are away', () => {
  let direct: RestGateway;
  let gateway: RestGateway;
  let tunnel: Tunnel;

  beforeAll(async () => {
    direct = await startRestGateway('disk');
    const url = new URL(direct.databaseUrl);
    tunnel = await openTunnel(placeOf(direct.databaseUrl));
    url.host = tunnel.host;
    gateway = await startRestGateway('disk', { beside: direct, env: { DATABASE_URL: url.href } });
  });

  afterAll(async () => {
    await gateway?.stop();
    await tunnel?.close();
    await direct.stop();
  });

  test('every call says so, the process lives, and all goes on when they are back', async () => {
    const { id } = await gateway.client.create({ key: 'away', size: 3 });
    await tunnel.cut();
    await expectAway(gateway, 'records_unavailable', [
      ['POST', '/uploads', { key: 'new' }],
      ['GET', '/uploads'],
      ['GET', `/uploads/${id}`],
      ['GET', `/uploads/${id}/parts`],
      ['PUT', `/uploads/${id}/parts/1`, bytesOf(3)],
      ['POST', `/uploads/${id}/parts`, { parts: [{ partNumber: 1, etag: 'x' }] }],
      ['POST', `/uploads/${id}/complete`],
      ['DELETE', `/uploads/${id}`],
    ]);
    expect((await gateway.client.wire.send({ method: 'GET', path: '/healthz' })).status).toBe(200);
    const ready = await gateway.client.wire.send({ method: 'GET', path: '/readyz' });
    expect(ready.status).toBe(503);
    expect(JSON.parse(ready.text)).toEqual({ status: 'unavailable', records: 'unavailable', store: 'ok' });

    await tunnel.mend();
    await gateway.client.putPart(id, 1, bytesOf(3));
    expect(await gateway.client.complete(id)).toMatchObject({ state: 'completed' });
    expect((await gateway.client.wire.send({ method: 'GET', path: '/readyz' })).status).toBe(200);
  });

  test('a part that the store has, but no record, is not acknowledged and does not count', async () => {
    const { id } = await gateway.client.create({ key: 'commit', size: 6 });
    const { exchange } = await sendHalf(gateway, id, 1, bytesOf(6));
    await tunnel.cut();
    exchange.request.end(bytesOf(6).subarray(3));
    await refused(exchange.answer, 503, 'records_unavailable');
    await tunnel.mend();
    expect(await direct.client.look(id)).toMatchObject({ receivedBytes: 0 });
    expect((await direct.client.listParts(id)).parts).toEqual([]);
  });
});

describe.skipIf(!hasS3)('while the store is away', () => {
  let direct: RestGateway;
  let gateway: RestGateway;
  let tunnel: Tunnel;

  beforeAll(async () => {
    direct = await startRestGateway('minio');
    tunnel = await openTunnel(placeOf(direct.placeSettings.S3_ENDPOINT!));
    gateway = await startRestGateway('minio', { beside: direct, env: { S3_ENDPOINT: `http://${tunnel.host}` } });
  });

  afterAll(async () => {
    await gateway?.stop();
    await tunnel?.close();
    await direct.stop();
  });

  test('every call that needs it says so, the others answer, and all goes on when it is back', async () => {
    const { id } = await gateway.client.create({ key: 'away', size: 3 });
    const { id: whole } = await gateway.client.create({ key: 'whole', size: 3 });
    const { id: unwanted } = await gateway.client.create({ key: 'unwanted', size: 3 });
    await gateway.client.putPart(whole, 1, bytesOf(3));
    await tunnel.cut();
    await expectAway(gateway, 'store_unavailable', [
      ['POST', '/uploads', { key: 'new' }],
      ['PUT', `/uploads/${id}/parts/1`, bytesOf(3)],
      ['POST', `/uploads/${id}/parts`, { parts: [{ partNumber: 1, etag: 'x' }] }],
      ['POST', `/uploads/${whole}/complete`],
      ['DELETE', `/uploads/${unwanted}`],
      ['GET', '/objects/whole'],
    ]);
    expect(await gateway.client.look(id)).toMatchObject({ state: 'open', receivedBytes: 0 });
    expect((await gateway.client.listParts(whole)).parts).toHaveLength(1);
    const ready = await gateway.client.wire.send({ method: 'GET', path: '/readyz' });
    expect(JSON.parse(ready.text)).toEqual({ status: 'unavailable', records: 'ok', store: 'unavailable' });

    await tunnel.mend();
    await gateway.client.putPart(id, 1, bytesOf(3));
    for (const one of [id, whole]) expect(await gateway.client.complete(one)).toMatchObject({ state: 'completed' });
    expect((await gateway.client.request('DELETE', `/uploads/${unwanted}`)).status).toBe(204);
  });
});

describe('a problem', () => {
  let gateway: RestGateway;

  beforeAll(async () => {
    gateway = await startRestGateway('disk', { env: { PARTWAY_LOG_LEVEL: 'silent' } });
  });

  afterAll(() => gateway.stop());

  async function putFailing(error: Error) {
    const { id } = await gateway.client.create({ key: 'failing', size: 3 });
    const restore = gateway.probe.before('uploadPart', () => {
      throw error;
    });
    try {
      return { id, answer: await gateway.client.request('PUT', `/uploads/${id}/parts/1`, bytesOf(3)) };
    } finally {
      restore();
    }
  }

  test.each([
    ['full', 507, 'store_full', undefined],
    ['refused', 503, 'store_refused', 30],
    ['unavailable', 503, 'store_unavailable', 2],
    ['digest_mismatch', 422, 'digest_mismatch', undefined],
  ] as const)('of a store that is %s keeps the store’s words to itself', async (kind, status, code, retryAfter) => {
    const { id, answer } = await putFailing(new StoreError(kind, 'secret words of the minio'));
    const problem = await refused(Promise.resolve(answer), status, code);
    expect(answer.text).not.toContain('secret');
    expect(problem.retryAfter).toBe(retryAfter);
    expect(answer.headers['retry-after']).toBe(retryAfter === undefined ? undefined : String(retryAfter));
    await gateway.client.putPart(id, 1, bytesOf(3));
  });

  test('of a store that has dropped the upload ends the upload', async () => {
    const { id, answer } = await putFailing(new StoreError('no_such_upload', 'secret'));
    expect(await refused(Promise.resolve(answer), 410, 'upload_gone')).toMatchObject({ reason: 'lost' });
    expect(await gateway.client.look(id)).toMatchObject({ state: 'aborted', reason: 'lost' });
  });

  test('of the gateway’s own says nothing but its id', async () => {
    const { answer } = await putFailing(new Error('secret at /home/partway in select * from uploads'));
    const problem = await refused(Promise.resolve(answer), 500, 'internal');
    expect(answer.text).not.toContain('secret');
    expect(Object.keys(problem).sort()).toEqual(['code', 'detail', 'requestId', 'status', 'title', 'type']);
  });

  test('has an id of its own, which its head has, too', async () => {
    const ids = new Set<unknown>();
    for (let count = 0; count < 3; count++) {
      ids.add((await refused(gateway.client.request('GET', '/uploads/x'), 404, 'upload_not_found')).requestId);
    }
    expect(ids.size).toBe(3);
  });

  test.each([
    ['GET', '/nowhere'],
    ['GET', '/uploads/a/b/c'],
    ['GET', '/uploads/'],
    ['PATCH', '/uploads/a'],
    ['DELETE', '/uploads'],
    ['PUT', '/uploads/a/parts'],
    ['GET', '/uploads/a/parts/1'],
    ['GET', '/uploads/a/complete'],
    ['DELETE', '/objects/a'],
    ['POST', '/openapi.json'],
    ['OPTIONS', '/uploads'],
  ])('is what %s %s gets', async (method, path) => {
    await refused(gateway.client.request(method, path), 404, 'not_found');
  });
});

describe('what is no HTTP', () => {
  let gateway: RestGateway;

  beforeAll(async () => {
    gateway = await startRestGateway('disk');
  });

  afterAll(() => gateway.stop());

  test.each([
    ['no request', 'nonsense\r\n\r\n', 400],
    ['a method that is none', 'FOO /uploads HTTP/1.1\r\nHost: a\r\n\r\n', 400],
    ['a version that is none', 'GET /uploads HTTP/9.9\r\nHost: a\r\n\r\n', 400],
    ['a length that is none', 'PUT /uploads/a/parts/1 HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n', 400],
    ['a negative length', 'PUT /uploads/a/parts/1 HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n', 400],
    [
      'two lengths',
      'PUT /uploads/a/parts/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n',
      400,
    ],
    [
      'a length and chunks',
      'PUT /uploads/a/parts/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n',
      400,
    ],
    ['a header with a NUL', 'GET /uploads HTTP/1.1\r\nHost: a\r\nX-A: a\0b\r\n\r\n', 400],
    ['a folded header', 'GET /uploads HTTP/1.1\r\nHost: a\r\nX-A: a\r\n b\r\n\r\n', 400],
    ['headers too large', `GET /uploads HTTP/1.1\r\nHost: a\r\nX-A: ${'a'.repeat(20_000)}\r\n\r\n`, 431],
  ])('is told so and cut off: %s', async (_, text, status) => {
    const said = await sayRaw(gateway.url, text);
    const [head = '', body = ''] = said.split('\r\n\r\n');
    expect(head).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
    expect(head.toLowerCase()).toContain('content-type: application/problem+json');
    expect(head.toLowerCase()).toContain('connection: close');
    expect(JSON.parse(body)).toMatchObject({ type: 'about:blank', status, code: 'invalid_request' });
    expect((await gateway.client.request('GET', '/uploads')).status).toBe(200);
  });
});
