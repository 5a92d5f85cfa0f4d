import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { refused } from './rest-client.ts';
import { type RestGateway, startRestGateway } from './rest-gateway.ts';

let gateway: RestGateway;

beforeAll(async () => {
  gateway = await startRestGateway('disk', { env: { PARTWAY_BUCKETS: 'second-bucket' } });
});

afterAll(() => gateway.stop());

/** Creates uploads one after the other; returns their ids, newest first. */
async function createAll(bodies: readonly { key: string; bucket?: string }[]): Promise<string[]> {
  const ids: string[] = [];
  for (const body of bodies) ids.unshift((await gateway.client.create(body)).id);
  return ids;
}

async function listedIds(query: string): Promise<string[]> {
  return (await gateway.client.list(query)).uploads.map(({ id }) => id);
}

describe('listing uploads', () => {
  test('shows the newest first', async () => {
    const ids = await createAll([{ key: 'newest/1' }, { key: 'newest/2' }, { key: 'newest/3' }]);
    expect(await listedIds('?prefix=newest/')).toEqual(ids);
  });

  test('goes on where a page ended, and says when there is no more', async () => {
    const ids = await createAll(Array.from({ length: 5 }, (_, index) => ({ key: `pages/${index}` })));
    const seen: string[] = [];
    let query = '?prefix=pages/&limit=2';
    for (let page = 1; page <= 3; page++) {
      const { uploads, nextCursor } = await gateway.client.list(query);
      seen.push(...uploads.map(({ id }) => id));
      expect(nextCursor === undefined).toBe(page === 3);
      query = `?prefix=pages/&limit=2&cursor=${nextCursor}`;
    }
    expect(seen).toEqual(ids);
  });

  test('a page begun does not shift when newer uploads come', async () => {
    const [second, first] = await createAll([{ key: 'shift/1' }, { key: 'shift/2' }]);
    const { uploads, nextCursor } = await gateway.client.list('?prefix=shift/&limit=1');
    expect(uploads.map(({ id }) => id)).toEqual([second]);
    await createAll([{ key: 'shift/3' }]);
    expect(await listedIds(`?prefix=shift/&limit=1&cursor=${nextCursor}`)).toEqual([first]);
  });

  test('filters by state', async () => {
    const [open, aborted] = await createAll([{ key: 'state/1' }, { key: 'state/2' }]);
    await gateway.client.request('DELETE', `/uploads/${aborted}`);
    expect(await listedIds('?prefix=state/&state=open')).toEqual([open]);
    expect(await listedIds('?prefix=state/&state=aborted')).toEqual([aborted]);
    expect(await listedIds('?prefix=state/&state=completed')).toEqual([]);
  });

  test('filters by bucket', async () => {
    const [second, first] = await createAll([{ key: 'bucket/1' }, { key: 'bucket/2', bucket: 'second-bucket' }]);
    expect(await listedIds('?prefix=bucket/&bucket=second-bucket')).toEqual([second]);
    expect(await listedIds(`?prefix=bucket/&bucket=${gateway.bucket}`)).toEqual([first]);
  });

  test('takes a prefix as it stands: no character in it means any other', async () => {
    const [literal] = await createAll([{ key: 'wild/axb' }, { key: 'wild/a%_b' }]);
    expect(await listedIds(`?prefix=${encodeURIComponent('wild/a%_')}`)).toEqual([literal]);
  });

  test.each(['prefix', 'bucket', 'cursor', 'state'])('refuses NUL in %s', async (name) => {
    await refused(gateway.client.request('GET', `/uploads?${name}=%00`), 400, 'invalid_request');
  });

  test.each([
    'limit=0',
    'limit=1001',
    'limit=-1',
    'limit=1.5',
    'limit=many',
    'limit=99999999999999999999',
    'state=finished',
    'cursor=nonsense',
    `cursor=${Buffer.from('99999999999999999.00').toString('base64url')}`,
  ])('refuses %s', async (query) => {
    await refused(gateway.client.request('GET', `/uploads?${query}`), 400, 'invalid_request');
  });
});
