import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { sayRaw } from './raw-socket.ts';
import { bytesOf, refused } from './rest-client.ts';
import { availableStores, type RestGateway, startRestGateway } from './rest-gateway.ts';

const content = '0123456789';

describe.each(await availableStores())('reading an object on %s', (store) => {
  let gateway: RestGateway;
  let etag: string;

  beforeAll(async () => {
    gateway = await startRestGateway(store);
    etag = await put('digits', content, { contentType: 'text/html' });
  });

  afterAll(() => gateway.stop());

  async function put(key: string, text: string, more: { contentType?: string } = {}): Promise<string> {
    const { id } = await gateway.client.create({ key, size: Buffer.byteLength(text), ...more });
    await gateway.client.putPart(id, 1, Buffer.from(text));
    return (await gateway.client.complete(id)).etag!;
  }

  const read = (headers: Record<string, string> = {}, method = 'GET') =>
    gateway.client.request(method, '/objects/digits', undefined, headers);

  test('gives its bytes, its type and its ETag, and lets no page run', async () => {
    const answer = await read();
    expect(answer).toMatchObject({
      status: 200,
      text: content,
      headers: {
        etag,
        'content-type': 'text/html',
        'content-length': '10',
        'accept-ranges': 'bytes',
        'x-content-type-options': 'nosniff',
        'content-security-policy': "sandbox; default-src 'none'",
        'x-request-id': expect.stringMatching(/^\w+$/),
      },
    });
    expect(Date.parse(answer.headers['last-modified']!)).not.toBeNaN();
  });

  test('gives HEAD the headers of GET, and no body', async () => {
    const { headers: got } = await read();
    const head = await read({}, 'HEAD');
    expect(head).toMatchObject({ status: 200, text: '' });
    for (const name of ['etag', 'content-type', 'content-length', 'accept-ranges', 'last-modified'] as const) {
      expect(head.headers[name]).toBe(got[name]);
    }
    expect(head.headers).toMatchObject({ 'x-content-type-options': 'nosniff' });
  });

  test.each([
    ['bytes=0-3', '0123', '0-3'],
    ['bytes=4-4', '4', '4-4'],
    ['bytes=7-', '789', '7-9'],
    ['bytes=-3', '789', '7-9'],
    ['bytes=-99', content, '0-9'],
    ['bytes=8-99', '89', '8-9'],
    ['bytes=0-99999999999999999999', content, '0-9'],
  ])('gives the range %s', async (range, text, given) => {
    expect(await read({ range })).toMatchObject({
      status: 206,
      text,
      headers: { 'content-range': `bytes ${given}/10`, 'content-length': String(text.length), etag },
    });
  });

  test.each(['bytes=10-', 'bytes=99-100', 'bytes=-0', 'bytes=99999999999999999999-'])(
    'has nothing to give for the range %s, and says its size',
    async (range) => {
      const answer = read({ range });
      expect(await refused(answer, 416, 'range_not_satisfiable')).toMatchObject({ size: 10 });
      expect((await answer).headers['content-range']).toBe('bytes */10');
    },
  );

  test.each(['bytes=5-2', 'bytes=', 'bytes=-', 'bytes=a-b', 'bytes=0-1,3-4', 'items=0-1', '0-1'])(
    'gives the whole where the range is %s',
    async (range) => {
      const answer = await read({ range });
      expect(answer).toMatchObject({ status: 200, text: content });
      expect(answer.headers).not.toHaveProperty('content-range');
    },
  );

  test('gives nothing where the client has it already', async () => {
    for (const known of [etag, `W/${etag}`, `"other", ${etag}`, '*']) {
      const answer = await read({ 'if-none-match': known });
      expect(answer).toMatchObject({ status: 304, text: '', headers: { etag } });
    }
    expect(await read({ 'if-none-match': '"other"' })).toMatchObject({ status: 200, text: content });
    expect((await read({ 'if-none-match': etag }, 'HEAD')).status).toBe(304);
  });

  test('gives a range only of the version that the client has', async () => {
    const range = 'bytes=2-3';
    expect(await read({ range, 'if-range': etag })).toMatchObject({ status: 206, text: '23' });
    for (const other of ['"other"', `W/${etag}`, 'Mon, 23 Nov 2026 07:00:00 GMT']) {
      expect(await read({ range, 'if-range': other })).toMatchObject({ status: 200, text: content });
    }
  });

  test('gives the version that was completed last', async () => {
    const [older, newer] = [await put('twice', 'older'), await put('twice', 'newer')];
    expect(older).not.toBe(newer);
    expect(await gateway.client.read('twice')).toMatchObject({ text: 'newer', headers: { etag: newer } });
  });

  test('keeps the connection for the next request', async () => {
    const said = await sayRaw(
      gateway.url,
      'GET /objects/digits HTTP/1.1\r\nHost: a\r\n\r\nGET /objects/digits HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n',
    );
    expect(said.match(/\r\n\r\n0123456789/g)).toHaveLength(2);
  });

  test.each([
    'a b',
    'a+b',
    'ü/ñ/漢',
    'a%2Fb',
    '%41',
    '100%',
    'a?b#c',
    "!$&'()*,;=:@[]",
    '"quoted"',
    'back\\slash',
    '...',
    '..a/b..',
    '.hidden',
    'a'.repeat(255),
    'uploads',
    'CON',
  ])('finds the key %j and no other', async (key) => {
    await put(key, key);
    expect(await gateway.client.read(key)).toMatchObject({ status: 200, text: key });
  });

  test('decodes a key once', async () => {
    await put('a%62', 'encoded');
    await put('ab', 'plain');
    expect((await gateway.client.wire.send({ method: 'GET', path: '/objects/a%2562' })).text).toBe('encoded');
    expect((await gateway.client.wire.send({ method: 'GET', path: '/objects/a%62' })).text).toBe('plain');
  });

  test.each(['/objects/no-such-object', '/objects/digits/below', '/objects/digit', '/objects/Digits'])(
    'finds nothing at %s',
    async (path) => {
      await refused(gateway.client.wire.send({ method: 'GET', path }), 404, 'object_not_found');
    },
  );

  test.each([
    '/objects/a/../digits',
    '/objects/%2E%2E%2Fdigits',
    '/objects/a/%2e%2e/digits',
    '/objects/./digits',
    '/objects//etc/passwd',
    '/objects/%2Fetc%2Fpasswd',
    '/objects/a//b',
    '/objects/digits/',
    '/objects/%00',
    '/objects/digits%00.html',
    '/objects/%ff',
    '/objects/%zz',
    '/objects/%ED%A0%80',
    '/objects/.partway/secret',
    `/objects/${'a'.repeat(256)}`,
    `/objects/${'a/'.repeat(600)}a`,
  ])('refuses %s', async (path) => {
    gateway.probe.forget();
    await refused(gateway.client.wire.send({ method: 'GET', path }), 400, 'invalid_request');
    expect(gateway.probe.calls()).toEqual([]);
  });

  test.each(['/objects/../digits', '/objects/%2e%2e/digits', '/objects/a/..', '/objects/', '/objects'])(
    'is not what %s asks for',
    async (path) => {
      await refused(gateway.client.wire.send({ method: 'GET', path }), 404, 'not_found');
    },
  );

  test('is refused in a bucket that is not the gateway’s', async () => {
    const path = (bucket: string) => `/objects/digits?bucket=${encodeURIComponent(bucket)}`;
    for (const bucket of ['another', '..', '', '../default']) {
      await refused(gateway.client.request('GET', path(bucket)), 403, 'forbidden');
    }
    expect((await gateway.client.request('GET', path(gateway.bucket))).status).toBe(200);
  });

  test('is cut off, and gets no words into it, where its client leaves', async () => {
    await put(
      'large',
      bytesOf(4 * 1024 * 1024)
        .toString('latin1')
        .slice(0, 3 * 1024 * 1024),
    );
    gateway.probe.forget();
    const exchange = gateway.client.wire.open({ method: 'GET', path: '/objects/large' });
    exchange.request.end();
    const { options } = await gateway.probe.nth('getObject', 1);
    const aborted = new Promise<void>((resolve) => options!.signal!.addEventListener('abort', () => resolve()));
    exchange.request.destroy();
    await aborted;
    expect((await read()).text).toBe(content);
  });
});

test('objects are not served where the gateway is told so', async () => {
  const gateway = await startRestGateway('disk', { env: { PARTWAY_READ_OBJECTS: 'false' } });
  try {
    const answer = await gateway.client.wire.send({ method: 'GET', path: '/objects/digits' });
    expect(answer.status).toBe(404);
    expect(answer.text).toContain('"code":"not_found"');
  } finally {
    await gateway.stop();
  }
});
