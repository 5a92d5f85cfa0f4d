import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { problemOf, refused } from './rest-client.ts';
import { type RestGateway, startRestGateway } from './rest-gateway.ts';

let gateway: RestGateway;

beforeAll(async () => {
  gateway = await startRestGateway('disk', { env: { PARTWAY_BODY_IDLE_TIMEOUT: '1s' } });
});

afterAll(() => gateway.stop());

function post(body: string, headers: Record<string, string> = { 'content-type': 'application/json' }) {
  return gateway.client.wire.send({ method: 'POST', path: '/uploads', headers }, body);
}

async function creations(): Promise<number> {
  return (await gateway.client.list('?limit=1000')).uploads.length;
}

describe('a JSON body', () => {
  test('that stalls is given up', { timeout: 20_000 }, async () => {
    const exchange = gateway.client.wire.open({
      method: 'POST',
      path: '/uploads',
      headers: { 'content-type': 'application/json', 'content-length': '100' },
    });
    await exchange.write(Buffer.from('{"key":'));
    await refused(exchange.answer, 408, 'body_timeout');
  });

  test.each([
    ['no JSON', 'key=a'],
    ['cut', '{"key":"a"'],
    ['two values', '{"key":"a"}{"key":"b"}'],
    ['empty', ''],
    ['null', 'null'],
    ['an array', '[]'],
    ['a string', '"a"'],
    ['deep', '['.repeat(1_000_000)],
    ['deep within', `{"key":"a","metadata":{"a":${'['.repeat(100_000)}${']'.repeat(100_000)}}}`],
    ['with a control character', '{"key":"\u0000"}'],
  ])('is refused where it is %s, and nothing is made', async (_, body) => {
    const before = await creations();
    await refused(post(body), 400, 'invalid_request');
    expect(await creations()).toBe(before);
  });

  test.each(['size', 'partSize', 'expiresIn'])('is refused where %s is no whole number of bytes', async (name) => {
    for (const value of ['-1', '1.5', '"5"', 'true', 'null', '[]', '{}', '9007199254740993', '1e400', '-0.5']) {
      const { faults } = await refused(post(`{"${name}":${value}}`), 400, 'invalid_request');
      expect(faults).toContainEqual(expect.objectContaining({ field: name }));
    }
  });

  test.each(['size_bytes', 'constructor', '__proto__', 'toString'])(
    'is refused where it has a field %s, which it names',
    async (name) => {
      const { detail } = await refused(post(`{"key":"a","${name}":{}}`), 400, 'invalid_request');
      expect(detail).toContain(name);
    },
  );

  test('of more than 4 MiB is refused before it is read', async () => {
    const exchange = gateway.client.wire.open({
      method: 'POST',
      path: '/uploads',
      headers: { 'content-type': 'application/json', 'content-length': '5000000', expect: '100-continue' },
    });
    await refused(exchange.answer, 413, 'limit_exceeded');
    await expect(exchange.continued).rejects.toThrow('without 100 Continue');
  });

  test.each([
    {},
    { 'content-type': 'text/plain' },
    { 'content-type': 'application/x-www-form-urlencoded' },
    { 'content-type': 'application/jsonish' },
  ])('is refused with %j', async (headers) => {
    const answer = await post('{"key":"a"}', headers);
    expect(problemOf(answer)).toMatchObject({ status: 400, code: 'invalid_request', field: 'Content-Type' });
  });

  test.each(['application/json; charset=utf-8', 'APPLICATION/JSON', 'application/vnd.api+json'])(
    'is taken with Content-Type %s',
    async (contentType) => {
      expect((await post('{"key":"a"}', { 'content-type': contentType })).status).toBe(201);
    },
  );
});
