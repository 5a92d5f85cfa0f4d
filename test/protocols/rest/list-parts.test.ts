import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { PartListJson } from '../../../src/protocols/rest/contract.ts';
import { bytesOf, refused } from './rest-client.ts';
import { type RestGateway, startRestGateway } from './rest-gateway.ts';

const MiB = 1024 ** 2;
const partSize = 5 * MiB;

let gateway: RestGateway;

beforeAll(async () => {
  gateway = await startRestGateway('disk');
});

afterAll(() => gateway.stop());

/** All pages, as a client walks them. */
async function walk(id: string, limit: number): Promise<PartListJson[]> {
  const pages: PartListJson[] = [];
  let after: number | undefined = 0;
  while (after !== undefined) {
    const page: PartListJson = await gateway.client.listParts(id, `?limit=${limit}&after=${after}`);
    pages.push(page);
    after = page.nextAfter;
  }
  return pages;
}

const numbersOf = (list: readonly { partNumber: number }[]) => list.map(({ partNumber }) => partNumber);

describe('the list of parts', () => {
  test('pages over what is stored and what is missing alike', async () => {
    const { id } = await gateway.client.create({ key: 'pages', size: 7 * partSize + 3, partSize });
    const last = await gateway.client.putPart(id, 8, bytesOf(3));
    const third = await gateway.client.putPart(id, 3, bytesOf(partSize));
    const pages = await walk(id, 3);
    expect(pages.map(({ parts, missing, nextAfter }) => [numbersOf(parts), numbersOf(missing), nextAfter])).toEqual([
      [[3], [1, 2], 3],
      [[], [4, 5, 6], 6],
      [[8], [7], undefined],
    ]);
    expect(pages.flatMap(({ parts }) => parts)).toEqual([third, last]);
    expect(pages[2]!.missing).toEqual([{ partNumber: 7, offset: 6 * partSize, size: partSize }]);
  });

  test('ends with its last part, however it is asked', async () => {
    const { id } = await gateway.client.create({ key: 'ends', size: 2 * partSize, partSize });
    for (const query of ['?limit=2', '?after=1&limit=1', '?after=1']) {
      expect(await gateway.client.listParts(id, query)).not.toHaveProperty('nextAfter');
    }
    expect((await gateway.client.listParts(id, '?limit=1')).nextAfter).toBe(1);
    for (const query of ['?after=2', '?after=3', '?after=10000&limit=1']) {
      expect(await gateway.client.listParts(id, query)).toEqual({ parts: [], missing: [] });
    }
  });

  test('covers 10,000 parts', async () => {
    const { id } = await gateway.client.create({ key: 'many', size: 10_000 * partSize, partSize });
    await gateway.client.putPart(id, 10_000, bytesOf(partSize));
    const all = await gateway.client.listParts(id, '?limit=10000');
    expect(numbersOf(all.missing)).toEqual(Array.from({ length: 9_999 }, (_, index) => index + 1));
    expect(numbersOf(all.parts)).toEqual([10_000]);
    const pages = await walk(id, 3_000);
    expect(pages).toHaveLength(4);
    expect(pages.flatMap(({ missing }) => missing)).toEqual(all.missing);
    expect(pages.flatMap(({ parts }) => parts)).toEqual(all.parts);
  });

  test('has 1,000 slots a page where nothing else is asked', async () => {
    const { id } = await gateway.client.create({ key: 'usual', size: 1_001 * partSize, partSize });
    const page = await gateway.client.listParts(id);
    expect(page.missing).toHaveLength(1000);
    expect(page.nextAfter).toBe(1000);
  });

  test('of an unknown size knows gaps, but no end', async () => {
    const { id } = await gateway.client.create({ key: 'unknown', partSize });
    expect(await gateway.client.listParts(id)).toEqual({ parts: [], missing: [] });
    await gateway.client.putPart(id, 3, bytesOf(partSize));
    const list = await gateway.client.listParts(id);
    expect([numbersOf(list.parts), numbersOf(list.missing)]).toEqual([[3], [1, 2]]);
    const pages = await walk(id, 1);
    expect(pages.flatMap(({ missing }) => missing)).toEqual(list.missing);
    expect(pages.flatMap(({ parts }) => parts)).toEqual(list.parts);
  });

  test('of an empty upload misses nothing', async () => {
    const { id } = await gateway.client.create({ key: 'empty', size: 0 });
    expect(await gateway.client.listParts(id)).toEqual({ parts: [], missing: [] });
  });

  test('says how far the upload is, is never cached, and asks the store nothing', async () => {
    const { id } = await gateway.client.create({ key: 'offset', size: partSize + 3, partSize });
    await gateway.client.putPart(id, 1, bytesOf(partSize));
    gateway.probe.forget();
    const { headers } = await gateway.client.request('GET', `/uploads/${id}/parts`);
    expect(headers).toMatchObject({ 'upload-offset': String(partSize), 'cache-control': 'no-store' });
    expect(gateway.probe.calls()).toEqual([]);
  });

  test('can still be had once the upload is completed', async () => {
    const { id } = await gateway.client.create({ key: 'completed', size: partSize + 3, partSize });
    const parts = [
      await gateway.client.putPart(id, 1, bytesOf(partSize), {
        'content-md5': createHash('md5').update(bytesOf(partSize)).digest('base64'),
      }),
      await gateway.client.putPart(id, 2, bytesOf(3)),
    ];
    await gateway.client.complete(id);
    expect(await gateway.client.listParts(id)).toEqual({ parts, missing: [] });
  });

  test.each(['limit=0', 'limit=-1', 'limit=10001', 'limit=a', 'limit=', 'after=-1', 'after=1.5', 'after=1e3'])(
    'is not had with %s',
    async (query) => {
      const { id } = await gateway.client.create({ key: 'query', size: 3 });
      const [field] = query.split('=');
      const { faults } = await refused(
        gateway.client.request('GET', `/uploads/${id}/parts?${query}`),
        400,
        'invalid_request',
      );
      expect(faults).toContainEqual(expect.objectContaining({ field }));
    },
  );

  test('of no upload is not there', async () => {
    await refused(gateway.client.request('GET', '/uploads/no-such-upload/parts'), 404, 'upload_not_found');
  });
});
