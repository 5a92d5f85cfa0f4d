import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openRaw } from './raw-socket.ts';
import { bytesOf, refused } from './rest-client.ts';
import { availableStores, type RestGateway, startRestGateway } from './rest-gateway.ts';

const MiB = 1024 ** 2;
const partSize = 5 * MiB;

describe.each(await availableStores())('a part on %s', (store) => {
  let gateway: RestGateway;

  beforeAll(async () => {
    gateway = await startRestGateway(store);
  });

  afterAll(() => gateway.stop());

  test('is acknowledged with its place, and listed so', async () => {
    const { id } = await gateway.client.create({ key: 'place', size: partSize + 3, partSize });
    const part = await gateway.client.putPart(id, 2, bytesOf(3));
    expect(part).toEqual({ partNumber: 2, offset: partSize, size: 3, etag: expect.stringMatching(/^".+"$/) });
    expect(await gateway.client.listParts(id)).toEqual({
      parts: [part],
      missing: [{ partNumber: 1, offset: 0, size: partSize }],
    });
    expect(await gateway.client.look(id)).toMatchObject({ offset: 0, receivedBytes: 3 });
  });

  test('may come in any order and beside others', async () => {
    const bytes = [bytesOf(partSize, 'first'), bytesOf(partSize, 'second'), bytesOf(3, 'third')];
    const { id } = await gateway.client.create({ key: 'parallel', size: 2 * partSize + 3, partSize });
    await Promise.all([3, 2, 1].map((partNumber) => gateway.client.putPart(id, partNumber, bytes[partNumber - 1]!)));
    expect(await gateway.client.look(id)).toMatchObject({ offset: 2 * partSize + 3, receivedBytes: 2 * partSize + 3 });
    await gateway.client.complete(id);
    expect((await gateway.client.read('parallel')).bytes.equals(Buffer.concat(bytes))).toBe(true);
  });

  test('is replaced by one sent later', async () => {
    const { id } = await gateway.client.create({ key: 'replaced', size: 3 });
    const first = await gateway.client.putPart(id, 1, Buffer.from('old'));
    const second = await gateway.client.putPart(id, 1, Buffer.from('new'));
    expect(second.etag).not.toBe(first.etag);
    expect(await gateway.client.listParts(id)).toEqual({ parts: [second], missing: [] });
    expect(await gateway.client.look(id)).toMatchObject({ receivedBytes: 3 });
    await gateway.client.complete(id);
    expect((await gateway.client.read('replaced')).text).toBe('new');
  });

  test('of no bytes makes an empty object', async () => {
    const { id } = await gateway.client.create({ key: 'empty', size: 0 });
    expect(await gateway.client.putPart(id, 1, Buffer.alloc(0))).toMatchObject({ offset: 0, size: 0 });
    await gateway.client.complete(id);
    expect(await gateway.client.read('empty')).toMatchObject({ status: 200, text: '' });
  });
});

describe('a part is refused without a call to the store, and before its body is sent,', () => {
  let gateway: RestGateway;

  beforeAll(async () => {
    gateway = await startRestGateway('disk', { env: { PARTWAY_MAX_SIZE: '100MiB' } });
  });

  afterAll(() => gateway.stop());

  /** Announces a part and waits for the word that it may come. */
  async function announce(path: string, headers: Record<string, string>) {
    gateway.probe.forget();
    const exchange = gateway.client.wire.open({
      method: 'PUT',
      path,
      headers: { 'content-length': '3', expect: '100-continue', ...headers },
    });
    return {
      ...exchange,
      refused: async (...[status, code]: [number, Parameters<typeof refused>[2]]) => {
        const problem = await refused(exchange.answer, status, code);
        await expect(exchange.continued).rejects.toThrow('without 100 Continue');
        expect((await exchange.answer).headers.connection).toBe('close');
        expect(gateway.probe.calls()).toEqual([]);
        return problem;
      },
    };
  }

  test('but one that is wanted may come', async () => {
    const { id } = await gateway.client.create({ key: 'wanted', size: 3 });
    const { continued, request, answer } = await announce(`/uploads/${id}/parts/1`, {});
    await continued;
    request.end('abc');
    expect(await answer).toMatchObject({ status: 200 });
  });

  test('where its size is not its slot’s, which is named', async () => {
    const { id } = await gateway.client.create({ key: 'slot', size: partSize + 3, partSize });
    for (const [partNumber, sizeBytes, expected] of [
      [1, partSize - 1, { offset: 0, expectedSize: partSize }],
      [1, partSize + 1, { offset: 0, expectedSize: partSize }],
      [2, 2, { offset: partSize, expectedSize: 3 }],
      [2, 0, { offset: partSize, expectedSize: 3 }],
      [2, partSize, { offset: partSize, expectedSize: 3 }],
    ] as const) {
      const path = `/uploads/${id}/parts/${partNumber}`;
      const part = await announce(path, { 'content-length': String(sizeBytes) });
      expect(await part.refused(422, 'part_size_mismatch')).toMatchObject(expected);
    }
  });

  test('where the upload ends before it', async () => {
    const { id } = await gateway.client.create({ key: 'end', size: 3 });
    const part = await announce(`/uploads/${id}/parts/2`, {});
    expect(await part.refused(413, 'limit_exceeded')).toMatchObject({ limit: 3 });
  });

  test.each(['10001', '999999999999999'])('where its number is %s', async (partNumber) => {
    const { id } = await gateway.client.create({ key: 'number', partSize });
    const part = await announce(`/uploads/${id}/parts/${partNumber}`, {});
    expect(await part.refused(413, 'limit_exceeded')).toMatchObject({ limit: 10_000 });
  });

  test.each(['0', '00', '-1', '1.5', '1e1', '0x1', 'a', '%31%00', '9999999999999999'])(
    'where %s is no part number',
    async (partNumber) => {
      const { id } = await gateway.client.create({ key: 'no-number', partSize });
      const part = await announce(`/uploads/${id}/parts/${partNumber}`, {});
      await part.refused(400, 'invalid_request');
    },
  );

  test('where it would make the upload larger than any may be', async () => {
    const { id } = await gateway.client.create({ key: 'largest', partSize: 60 * MiB });
    const part = await announce(`/uploads/${id}/parts/2`, { 'content-length': String(60 * MiB) });
    expect(await part.refused(413, 'limit_exceeded')).toMatchObject({ limit: 100 * MiB });
  });

  test('where it is larger than the store takes', async () => {
    const { id } = await gateway.client.create({ key: 'huge', layout: 'free' });
    const part = await announce(`/uploads/${id}/parts/1`, { 'content-length': String(5 * 1024 * MiB + 1) });
    expect(await part.refused(413, 'limit_exceeded')).toMatchObject({ limit: 5 * 1024 * MiB });
  });

  test('where its length is not announced', async () => {
    const { id } = await gateway.client.create({ key: 'chunked', size: 3 });
    gateway.probe.forget();
    const { answer } = gateway.client.wire.open({
      method: 'PUT',
      path: `/uploads/${id}/parts/1`,
      headers: { 'transfer-encoding': 'chunked' },
    });
    await refused(answer, 411, 'length_required');
    expect(gateway.probe.calls()).toEqual([]);
  });

  test.each([
    ['another beginning', 'bytes 1-3/3', 422, 'part_size_mismatch'],
    ['another total', 'bytes 0-2/99', 409, 'state_conflict'],
    ['another length', 'bytes 0-3/4', 400, 'invalid_request'],
    ['the end before the beginning', 'bytes 2-0/3', 400, 'invalid_request'],
    ['another unit', 'items 0-2/3', 400, 'invalid_request'],
    ['no range', 'bytes */3', 400, 'invalid_request'],
    ['numbers too large', 'bytes 99999999999999999-99999999999999999/*', 400, 'invalid_request'],
  ] as const)('where its Content-Range has %s', async (_, range, status, code) => {
    const { id } = await gateway.client.create({ key: 'range', size: 3 });
    const part = await announce(`/uploads/${id}/parts/1`, { 'content-range': range });
    await part.refused(status, code);
  });

  test('where it is framed as aws-chunked', async () => {
    const { id } = await gateway.client.create({ key: 'framed', size: 3 });
    const part = await announce(`/uploads/${id}/parts/1`, { 'content-encoding': 'gzip, aws-chunked' });
    await part.refused(400, 'invalid_request');
  });

  test('where there is no such upload', async () => {
    for (const id of ['no-such-upload', '0'.repeat(32), '%00']) {
      const part = await announce(`/uploads/${id}/parts/1`, {});
      await part.refused(404, 'upload_not_found');
    }
  });

  test('where the upload is completed, or aborted', async () => {
    const completed = await gateway.client.create({ key: 'completed', size: 3 });
    await gateway.client.putPart(completed.id, 1, bytesOf(3));
    await gateway.client.complete(completed.id);
    const late = await announce(`/uploads/${completed.id}/parts/1`, {});
    expect(await late.refused(409, 'state_conflict')).toMatchObject({ uploadState: 'completed' });
    const aborted = await gateway.client.create({ key: 'aborted', size: 3 });
    await gateway.client.request('DELETE', `/uploads/${aborted.id}`);
    const gone = await announce(`/uploads/${aborted.id}/parts/1`, {});
    expect(await gone.refused(410, 'upload_gone')).toMatchObject({ reason: 'requested', uploadState: 'aborted' });
  });

  test('and none of them leaves anything behind', async () => {
    const { id } = await gateway.client.create({ key: 'behind', size: 3 });
    await (await announce(`/uploads/${id}/parts/1`, { 'content-length': '4' })).refused(422, 'part_size_mismatch');
    await gateway.client.putPart(id, 1, bytesOf(3));
    expect(await gateway.client.complete(id)).toMatchObject({ state: 'completed' });
  });
});

describe('a part', () => {
  let gateway: RestGateway;

  beforeAll(async () => {
    gateway = await startRestGateway('disk');
  });

  afterAll(() => gateway.stop());

  test('may say where it begins', async () => {
    const { id } = await gateway.client.create({ key: 'begins', size: partSize + 3, partSize });
    for (const total of ['*', String(partSize + 3)]) {
      const range = { 'content-range': `bytes ${partSize}-${partSize + 2}/${total}` };
      expect(await gateway.client.putPart(id, 2, bytesOf(3), range)).toMatchObject({ offset: partSize });
    }
  });

  test('says where it begins in a free layout, and the list tells it again', async () => {
    const { id } = await gateway.client.create({ key: 'free', layout: 'free' });
    const part = await gateway.client.putPart(id, 7, bytesOf(3), { 'content-range': 'bytes 100-102/*' });
    expect(part).toMatchObject({ partNumber: 7, offset: 100, size: 3 });
    expect((await gateway.client.listParts(id)).parts).toEqual([part]);
  });

  test('ends where its length says: what follows is the next request', async () => {
    const { id } = await gateway.client.create({ key: 'pipelined', size: 3 });
    const { socket, said } = await openRaw(gateway.url);
    socket.write(
      `PUT /uploads/${id}/parts/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc` +
        `GET /uploads/${id} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`,
    );
    expect((await said).match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 200', 'HTTP/1.1 200']);
    await gateway.client.complete(id);
    expect((await gateway.client.read('pipelined')).text).toBe('abc');
  });
});
