import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bytesOf, refused } from '../rest/rest-client.ts';
import { availableStores, type RestGateway, startRestGateway } from '../rest/rest-gateway.ts';
import type { Exchange } from '../rest/wire.ts';
import { objectAt, progressOf, rangeClient } from './range-client.ts';

const MiB = 1024 ** 2;
const file = bytesOf(9 * MiB + 1, 'file');

describe.each(await availableStores())('a request without a range on %s', (store) => {
  let gateway: RestGateway;

  beforeAll(async () => {
    gateway = await startRestGateway(store);
  });

  afterAll(() => gateway.stop());

  const open = (method: string, path: string, headers: Record<string, string>): Exchange =>
    gateway.client.wire.open({ method, path, headers });

  test.each(['PUT', 'POST'])('by %s is the whole object', async (method) => {
    const key = `whole-${method}`;
    const exchange = open(method, `/objects/${key}`, { 'content-length': String(file.length) });
    exchange.request.end(file);
    expect(progressOf(await exchange.answer)).toMatchObject({
      state: 'completed',
      key,
      size: file.length,
      missing: [],
    });
    expect((await objectAt(gateway, key))?.equals(file)).toBe(true);
  });

  test('may be of unknown length', async () => {
    const exchange = open('PUT', '/objects/unknown-length', { 'transfer-encoding': 'chunked' });
    exchange.request.end(file);
    expect(progressOf(await exchange.answer)).toMatchObject({ state: 'completed', size: file.length });
    expect((await objectAt(gateway, 'unknown-length'))?.equals(file)).toBe(true);
  });

  test.each([
    ['by its length', { 'content-length': '0' }],
    ['by its end', { 'transfer-encoding': 'chunked' }],
  ])('may be empty, %s', async (how, headers) => {
    const key = `empty ${how}`;
    const exchange = open('PUT', `/objects/${encodeURIComponent(key)}`, headers);
    exchange.request.end();
    expect(progressOf(await exchange.answer)).toMatchObject({ state: 'completed', key, size: 0 });
    expect(await objectAt(gateway, key)).toHaveLength(0);
  });

  test('in a coding that is not undone here is refused', async () => {
    const exchange = open('PUT', '/objects/coded', { 'transfer-encoding': 'gzip, chunked' });
    exchange.request.on('error', () => undefined);
    exchange.request.write('5\r\nhello\r\n0\r\n\r\n');
    await refused(exchange.answer, 400, 'invalid_request');
    exchange.request.destroy();
    expect(await objectAt(gateway, 'coded')).toBeUndefined();
  });

  test('that is refused at its end becomes no object later, and keeps nothing', async () => {
    const client = rangeClient(gateway, '/objects/taken');
    progressOf(await client.send(undefined, Buffer.from('first')));
    const second = client.send(undefined, Buffer.from('second'), { 'if-none-match': '*' });
    await refused(second, 412, 'precondition_failed');
    expect((await gateway.client.list('?prefix=taken&state=open')).uploads).toEqual([]);
    expect((await objectAt(gateway, 'taken'))?.toString()).toBe('first');
  });

  test('replaces the object, whatever was begun before', async () => {
    const client = rangeClient(gateway, '/objects/replaced');
    for (const content of [bytesOf(1000, 'one'), bytesOf(1000, 'two')]) {
      progressOf(await client.send(undefined, content));
      expect((await objectAt(gateway, 'replaced'))?.equals(content)).toBe(true);
    }
  });

  test('keeps its content type, but not what tools say of forms by themselves', async () => {
    const client = rangeClient(gateway, '/objects/typed');
    await client.send(undefined, bytesOf(3), { 'content-type': 'application/zstd' });
    expect((await gateway.client.read('typed')).headers['content-type']).toBe('application/zstd');
    await client.send(undefined, bytesOf(3), { 'content-type': 'application/x-www-form-urlencoded' });
    expect((await gateway.client.read('typed')).headers['content-type']).toMatch(/octet-stream$/);
  });

  test('replaces nothing where that is what it asks', async () => {
    const client = rangeClient(gateway, '/objects/kept');
    const content = bytesOf(100, 'kept');
    progressOf(await client.send(undefined, content, { 'if-none-match': '*' }));
    await refused(client.send(undefined, bytesOf(100, 'new'), { 'if-none-match': '*' }), 412, 'precondition_failed');
    expect((await objectAt(gateway, 'kept'))?.equals(content)).toBe(true);
  });

  test('that breaks off leaves an upload that its id continues', async () => {
    const exchange = open('PUT', '/objects/cut', { 'content-length': String(file.length) });
    await exchange.write(file.subarray(0, 6 * MiB));
    await expect.poll(async () => (await gateway.client.list('?prefix=cut')).uploads).toHaveLength(1);
    exchange.request.destroy();
    const [upload] = (await gateway.client.list('?prefix=cut')).uploads;
    const client = rangeClient(gateway, `/uploads/${upload!.id}`);
    // What came before the break becomes durable once the gateway has noticed it.
    await expect.poll(async () => progressOf(await client.ask()).offset, { timeout: 15_000 }).toBeGreaterThan(0);
    const { offset } = progressOf(await client.ask(file.length));
    expect(progressOf(await client.chunk(file, offset, file.length)).state).toBe('completed');
    expect((await objectAt(gateway, 'cut'))?.equals(file)).toBe(true);
  });

  test('above the limit is refused before a byte of it is read', async () => {
    const limited = await startRestGateway(store, { beside: gateway, env: { PARTWAY_MAX_SIZE: '1MiB' } });
    try {
      const headers = { 'content-length': String(MiB + 1), expect: '100-continue' };
      const exchange = limited.client.wire.open({ method: 'PUT', path: '/objects/large', headers });
      await refused(exchange.answer, 413, 'limit_exceeded');
      await expect(exchange.continued).rejects.toThrow('without 100 Continue');
      const endless = limited.client.wire.open({
        method: 'PUT',
        path: '/objects/endless',
        headers: { 'transfer-encoding': 'chunked' },
      });
      endless.request.end(bytesOf(MiB + 1));
      await refused(endless.answer, 413, 'limit_exceeded');
    } finally {
      await limited.stop();
    }
  });
});
