import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bytesOf, refused } from './rest-client.ts';
import { availableStores, type RestGateway, startRestGateway } from './rest-gateway.ts';

const MiB = 1024 ** 2;
const TiB = 1024 ** 4;

describe.each(await availableStores())('creating an upload on %s', (store) => {
  let gateway: RestGateway;

  beforeAll(async () => {
    gateway = await startRestGateway(store);
  });

  afterAll(() => gateway.stop());

  test('keeps every field, and says where the upload is', async () => {
    const body = {
      key: 'backups/ü 100%.tar',
      bucket: gateway.bucket,
      size: 12 * MiB,
      layout: 'planned',
      partSize: 5 * MiB,
      contentType: 'application/x-tar; charset=binary',
      metadata: { filename: 'ü.tar', 'made-by': 'a_test', Upper: ' spaces ' },
      digest: 'crc32=:AAAAAA==:',
    } as const;
    const answer = await gateway.client.request('POST', '/uploads', { ...body, ifNoneMatch: '*', expiresIn: 60 });
    const created = JSON.parse(answer.text);
    expect(created).toMatchObject({
      ...body,
      state: 'open',
      offset: 0,
      receivedBytes: 0,
      partCount: 3,
      protocol: 'rest',
    });
    expect(created.id).toMatch(/^[A-Za-z0-9_-]{20,}$/);
    expect(Date.parse(created.expiresAt) - Date.parse(created.createdAt)).toBe(60_000);
    expect(answer.headers.location).toBe(`/uploads/${created.id}`);
    expect(await gateway.client.look(created.id)).toEqual(created);
  });

  test('names the object where the client does not, with its file name made safe', async () => {
    const { id, key, createdAt } = await gateway.client.create({ metadata: { filename: '../a b/ü.txt' } });
    expect(key).toBe(`${createdAt.slice(0, 10)}/${id}/a_b_ü.txt`);
  });

  test('under one Idempotency-Key, one upload: the same body gets it again, another body 422', async () => {
    const headers = { 'idempotency-key': 'once' };
    const first = await gateway.client.create({ key: 'idempotent', size: 3 }, headers);
    expect(await gateway.client.create({ size: 3, key: 'idempotent' }, headers)).toEqual(first);
    const other = gateway.client.request('POST', '/uploads', { key: 'idempotent', size: 4 }, headers);
    await refused(other, 422, 'idempotency_conflict');
  });

  test('only if nothing is there opens nothing where something is, and is free to be asked again', async () => {
    const body = { key: 'there', size: 1, ifNoneMatch: '*' as const };
    const headers = { 'Idempotency-Key': 'only-if-nothing' };
    const { id } = await gateway.client.create(body, headers);
    await gateway.client.putPart(id, 1, Buffer.from('x'));
    await gateway.client.complete(id);
    gateway.probe.forget();
    await refused(gateway.client.request('POST', '/uploads', body), 412, 'precondition_failed');
    expect(gateway.probe.calls().map(({ method }) => method)).toEqual(['headObject']);
    expect((await gateway.client.create(body, headers)).id).toBe(id);
  });

  test('equal creations at once make one upload', async () => {
    gateway.probe.forget();
    const held = gateway.probe.hold('createMultipartUpload');
    const headers = { 'idempotency-key': 'at-once' };
    const first = gateway.client.create({ key: 'at-once' }, headers);
    await held.reached;
    const again = gateway.client.request('POST', '/uploads', { key: 'at-once' }, headers);
    await refused(again, 409, 'busy');
    expect((await again).headers['retry-after']).toBe('1');
    held.release();
    const { id } = await first;
    expect((await gateway.client.create({ key: 'at-once' }, headers)).id).toBe(id);
    expect(gateway.probe.calls('createMultipartUpload')).toHaveLength(1);
  });

  test('keeps metadata of the size that fits beside our own, whatever its characters', async () => {
    for (const value of ['x'.repeat(1980), 'é'.repeat(738)]) {
      const { id } = await gateway.client.create({ key: 'metadata', size: 0, metadata: { a: value } });
      expect(await gateway.client.complete(id)).toMatchObject({ metadata: { a: value } });
    }
  });

  test.each([
    ['more than fits beside our own', { a: 'x'.repeat(1981) }],
    ['more than fits once it is encoded', { a: 'é'.repeat(739) }],
    ['a name that is no header name', { 'a b': 'x' }],
    ['a name of ours', { 'Partway-token': 'x' }],
    ['a control character', { a: 'x\r\ny' }],
    ['an unpaired surrogate', { a: '\ud800' }],
    ['a value that is no string', { a: 1 }],
    ['an empty name', { '': 'x' }],
  ])('refuses metadata with %s', async (_, metadata) => {
    await refused(gateway.client.request('POST', '/uploads', { metadata }), 400, 'invalid_request');
  });

  test('refuses metadata of a name that it could not keep', async () => {
    const body = Buffer.from('{"key":"names","metadata":{"__proto__":"x"}}');
    const create = gateway.client.request('POST', '/uploads', body, { 'content-type': 'application/json' });
    await refused(create, 400, 'invalid_request');
  });

  test.each([
    '',
    '/a',
    'a/',
    'a//b',
    '.',
    '..',
    '../a',
    'a/../b',
    'a/./b',
    'a/..',
    'a\u0000b',
    'a\nb',
    'a\u007fb',
    'a\u0085b',
    '\ud800',
    'x'.repeat(1025),
    'é'.repeat(513),
    '.partway/a',
  ])('refuses the key %j', async (key) => {
    gateway.probe.forget();
    await refused(gateway.client.request('POST', '/uploads', { key, size: 3 }), 400, 'invalid_request');
    expect(gateway.probe.calls()).toEqual([]);
  });

  test.each([
    'a b+c%2e&?#=;:@"\'\\|*<>^`{}[]~!$(),',
    'ü/日本/😀/\u202e/\u00a0',
    ' lead and trail ',
    '...',
    '..a/b..',
    'CON',
    'a'.repeat(255),
    `${'k'.repeat(204)}/`.repeat(4) + 'k'.repeat(204),
    'é'.repeat(100),
    '-rf',
    'a.partway/b',
  ])('stores and serves an object under the key %j', async (key) => {
    const { id } = await gateway.client.create({ key, size: 3 });
    await gateway.client.putPart(id, 1, bytesOf(3, key));
    const { location } = await gateway.client.complete(id);
    expect((await gateway.client.read(key)).bytes.equals(bytesOf(3, key))).toBe(true);
    const { pathname, search } = new URL(location!, gateway.url);
    expect((await gateway.client.request('GET', pathname + search)).bytes.equals(bytesOf(3, key))).toBe(true);
  });

  test('refuses a bucket that the gateway may not use', async () => {
    for (const bucket of ['other-bucket', '', '../x', 'a\u0000b']) {
      await refused(gateway.client.request('POST', '/uploads', { key: 'a', bucket }), 403, 'forbidden');
    }
  });

  test('refuses more than the largest upload', async () => {
    const problem = await refused(
      gateway.client.request('POST', '/uploads', { key: 'a', size: 5 * TiB + 1 }),
      413,
      'limit_exceeded',
    );
    expect(problem.limit).toBe(5 * TiB);
  });

  test.each(['a\r\nb', 'text/plain\n', 'tëxt/plain', 'x'.repeat(256), ''])(
    'refuses the content type %j',
    async (contentType) => {
      await refused(gateway.client.request('POST', '/uploads', { key: 'a', contentType }), 400, 'invalid_request');
    },
  );
});
