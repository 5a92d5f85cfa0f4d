import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bytesOf, refused } from './rest-client.ts';
import { type RestGateway, startRestGateway } from './rest-gateway.ts';

let gateway: RestGateway;

beforeAll(async () => {
  gateway = await startRestGateway('disk');
});

afterAll(() => gateway.stop());

describe('looking at an upload', () => {
  test('says in headers how far it is and how long it will be, to HEAD and to GET', async () => {
    const { id } = await gateway.client.create({ key: 'headers', size: 3 });
    const look = (method: string) => gateway.client.request(method, `/uploads/${id}`);
    for (const method of ['HEAD', 'GET']) {
      expect(await look(method)).toMatchObject({
        status: 200,
        headers: { 'upload-offset': '0', 'upload-length': '3', 'cache-control': 'no-store' },
      });
    }
    await gateway.client.putPart(id, 1, bytesOf(3));
    const { etag } = await gateway.client.complete(id);
    const head = await look('HEAD');
    expect(head).toMatchObject({ status: 200, headers: { 'upload-offset': '3', 'upload-length': '3', etag } });
    expect(head.bytes).toHaveLength(0);
  });

  test('gives no length while the size is unknown, and no ETag before it is completed', async () => {
    const { id } = await gateway.client.create({ key: 'unknown' });
    const { headers } = await gateway.client.request('HEAD', `/uploads/${id}`);
    expect(headers).not.toHaveProperty('upload-length');
    expect(headers).not.toHaveProperty('etag');
  });

  test.each(['no-such-upload', '%00', 'a%00b', '%ff', '%zz', '..%2f..', 'ü', "'", 'x'.repeat(2000)])(
    'finds nothing under %j',
    async (id) => {
      await refused(gateway.client.request('GET', `/uploads/${id}`.replace('ü', '%C3%BC')), 404, 'upload_not_found');
    },
  );
});
