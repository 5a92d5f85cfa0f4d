import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bytesOf, refused } from './rest-client.ts';
import { availableStores, type RestGateway, startRestGateway } from './rest-gateway.ts';

const MiB = 1024 ** 2;

describe.each(await availableStores())('the free layout on %s', (store) => {
  let gateway: RestGateway;

  beforeAll(async () => {
    gateway = await startRestGateway(store);
  });

  afterAll(() => gateway.stop());

  test('takes parts of any size, and makes the object in the order of their numbers', async () => {
    const { id, ...upload } = await gateway.client.create({ key: 'order', layout: 'free' });
    expect(upload).not.toHaveProperty('partSize');
    const [first, second] = [bytesOf(5 * MiB + 1, 'first'), bytesOf(7, 'second')];
    await gateway.client.putPart(id, 2, second);
    await gateway.client.putPart(id, 1, first);
    expect(await gateway.client.complete(id)).toMatchObject({ state: 'completed', size: 5 * MiB + 8 });
    expect((await gateway.client.read('order')).bytes.equals(Buffer.concat([first, second]))).toBe(true);
  });

  test('records where a part begins, where its client says', async () => {
    const { id } = await gateway.client.create({ key: 'offset', layout: 'free' });
    await gateway.client.putPart(id, 2, bytesOf(3), { 'content-range': 'bytes 100-102/*' });
    await gateway.client.putPart(id, 3, bytesOf(3));
    const { parts } = await gateway.client.listParts(id);
    expect(parts).toMatchObject([
      { partNumber: 2, offset: 100, size: 3 },
      { partNumber: 3, size: 3 },
    ]);
    expect(parts[1]).not.toHaveProperty('offset');
  });

  test('refuses to complete over a gap, and names it', async () => {
    const { id } = await gateway.client.create({ key: 'gap', layout: 'free' });
    await gateway.client.putPart(id, 1, bytesOf(5 * MiB));
    await gateway.client.putPart(id, 4, bytesOf(3));
    const problem = await refused(gateway.client.request('POST', `/uploads/${id}/complete`), 409, 'incomplete');
    expect(problem.missing).toEqual([{ partNumber: 2 }, { partNumber: 3 }]);
    expect(await gateway.client.look(id)).toMatchObject({ state: 'open', offset: 5 * MiB });
  });

  test('refuses a part that would make it longer than its declared size', async () => {
    const { id } = await gateway.client.create({ key: 'longer', layout: 'free', size: 3 });
    await refused(gateway.client.request('PUT', `/uploads/${id}/parts/1`, bytesOf(5)), 422, 'part_size_mismatch');
    expect(await gateway.client.listParts(id)).toEqual({ parts: [], missing: [] });
    await gateway.client.putPart(id, 1, bytesOf(3));
    expect(await gateway.client.complete(id)).toMatchObject({ state: 'completed', size: 3 });
  });

  test('lets a part that was too small be sent again, larger, after complete refused it', async () => {
    const { id } = await gateway.client.create({ key: 'too-small', layout: 'free' });
    const [first, second] = [bytesOf(5 * MiB, 'first'), bytesOf(3, 'second')];
    await gateway.client.putPart(id, 1, bytesOf(3, 'small'));
    await gateway.client.putPart(id, 2, second);
    const problem = await refused(gateway.client.request('POST', `/uploads/${id}/complete`), 422, 'part_size_mismatch');
    expect(problem).toMatchObject({ partNumbers: [1], minPartSize: 5 * MiB });
    await gateway.client.putPart(id, 1, first);
    expect(await gateway.client.complete(id)).toMatchObject({ state: 'completed', size: 5 * MiB + 3 });
    expect((await gateway.client.read('too-small')).bytes.equals(Buffer.concat([first, second]))).toBe(true);
  });

  test('takes part 10,000, and refuses part 10,001', async () => {
    const { id } = await gateway.client.create({ key: 'ten-thousand', layout: 'free' });
    await gateway.client.putPart(id, 10_000, bytesOf(1));
    await refused(gateway.client.request('PUT', `/uploads/${id}/parts/10001`, bytesOf(1)), 413, 'limit_exceeded');
  });

  test('refuses a part size: it belongs to the planned layout', async () => {
    const body = { key: 'part-size', layout: 'free', partSize: 5 * MiB };
    await refused(gateway.client.request('POST', '/uploads', body), 400, 'invalid_request');
  });
});
