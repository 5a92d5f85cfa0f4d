import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { bytesOf, refused } from '../protocols/rest/rest-client.ts';
import { type RestGateway, startRestGateway } from '../protocols/rest/rest-gateway.ts';
import { type FaultProxy, type ProxiedRequest, startFaultProxy } from '../support/fault-proxy.ts';
import { useMinio } from '../support/stores.ts';

const minio = await useMinio();

describe.runIf(minio)('a store that takes the call and says nothing', () => {
  let proxy: FaultProxy;
  let gateway: RestGateway;

  beforeAll(async () => {
    proxy = await startFaultProxy({ target: minio!.endpoint });
    gateway = await startRestGateway('minio', {
      env: { S3_ENDPOINT: proxy.url },
      coreSettings: { storeWaitMs: 2_000 },
    });
  });

  afterAll(async () => {
    await gateway.stop();
    await proxy.stop();
  });

  afterEach(() => proxy.clear());

  const silent = (method: string, query?: string) =>
    proxy.rule({
      match: (request: ProxiedRequest) =>
        request.method === method && (query === undefined || request.query.has(query)),
      fault: { kind: 'stall' },
    });

  async function expectUnavailable(method: string, path: string, body?: unknown): Promise<void> {
    const answer = gateway.client.request(method, path, body);
    await refused(answer, 503, 'store_unavailable');
    expect((await answer).headers['retry-after']).toBe('2');
  }

  async function uploaded(key: string): Promise<string> {
    const { id } = await gateway.client.create({ key, size: 3 });
    await gateway.client.putPart(id, 1, bytesOf(3));
    return id;
  }

  test('holds up no report of parts', async () => {
    const { id } = await gateway.client.create({ key: 'reported', size: 3 });
    const { parts: signed } = await gateway.client.sign(id, { partNumbers: [1] });
    const { headers } = await fetch(signed[0]!.url, { method: 'PUT', body: new Uint8Array(bytesOf(3)) });
    const parts = [{ partNumber: 1, etag: headers.get('etag')! }];
    silent('GET', 'uploadId');
    await expectUnavailable('POST', `/uploads/${id}/parts`, { parts });
    proxy.clear();
    expect(await gateway.client.report(id, parts)).toMatchObject({ offset: 3 });
  });

  test('holds up no abort, which the next one brings to its end', async () => {
    const id = await uploaded('aborted');
    silent('DELETE');
    await expectUnavailable('DELETE', `/uploads/${id}`);
    expect(await gateway.client.look(id)).toMatchObject({ state: 'aborting' });
    proxy.clear();
    expect((await gateway.client.request('DELETE', `/uploads/${id}`)).status).toBe(204);
  });

  test('holds up no abort after it has done it', async () => {
    const id = await uploaded('listed');
    silent('GET', 'uploadId');
    await expectUnavailable('DELETE', `/uploads/${id}`);
  });

  test.each(['HEAD', 'GET'])('holds up no reader of an object, at %s', async (method) => {
    const key = `read-${method}`;
    await gateway.client.complete(await uploaded(key));
    silent(method);
    await expectUnavailable('GET', `/objects/${key}`);
    proxy.clear();
    expect((await gateway.client.read(key)).bytes.equals(bytesOf(3))).toBe(true);
  });
});
