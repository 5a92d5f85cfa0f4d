import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { StoreError } from '../../../src/core/object-store.ts';
import { crc32Of } from '../../core/core-under-test.ts';
import { execute } from '../../support/postgres.ts';
import { bytesOf } from '../rest/rest-client.ts';
import { allStores, type RestGateway, startRestGateway } from '../rest/rest-gateway.ts';
import { expectOffset, expectRefused, locationOf, metadataOf, TusClient } from './tus-client.ts';

const MiB = 1024 ** 2;
const idOf = (path: string) => path.slice('/files/'.length);

describe.each(await allStores())('concatenation on %s', (store) => {
  let gateway: RestGateway;
  let client: TusClient;

  beforeAll(async () => {
    gateway = await startRestGateway(store);
    client = new TusClient(gateway.url);
  });

  afterAll(async () => {
    client?.close();
    await gateway?.stop();
  });

  const partial = { 'upload-concat': 'partial' };

  /** A partial upload that is completed. */
  async function partialOf(bytes: Buffer): Promise<string> {
    const path = await client.upload(bytes.length, partial);
    if (bytes.length > 0) expectOffset(await client.patch(path, 0, bytes), bytes.length);
    return path;
  }

  async function final(paths: readonly string[], headers: Record<string, string> = {}): Promise<string> {
    const path = locationOf(await client.create({ 'upload-concat': `final;${paths.join(' ')}`, ...headers }));
    await expect
      .poll(async () => (await client.head(path)).headers['upload-offset'], { timeout: 20_000 })
      .toBeDefined();
    return path;
  }

  async function expectJoined(path: string, bytes: Buffer): Promise<void> {
    expect((await client.head(path)).headers).toMatchObject({
      'upload-offset': String(bytes.length),
      'upload-length': String(bytes.length),
      'upload-concat': expect.stringMatching(/^final;/),
    });
    expect((await client.send('GET', path)).bytes.equals(bytes)).toBe(true);
  }

  test('of large uploads is done by the store alone', async () => {
    const [a, b, c] = [bytesOf(9 * MiB, 'a'), bytesOf(5 * MiB, 'b'), bytesOf(100, 'c')];
    const paths = [await partialOf(a!), await partialOf(b!), await partialOf(c!)];
    gateway.probe.forget();
    const path = await final(paths, {
      'upload-metadata': metadataOf({ filename: 'whole.bin', filetype: 'video/mp4' }),
    });
    expect(gateway.probe.calls('copyPart')).toHaveLength(3);
    expect(gateway.probe.calls('uploadPart')).toHaveLength(0);
    await expectJoined(path, Buffer.concat([a!, b!, c!]));
    const { parts } = await gateway.client.listParts(idOf(path));
    expect(parts.map(({ checksum }) => checksum)).toEqual([a!, b!, c!].map((bytes) => `crc32=:${crc32Of(bytes)}:`));
    expect(await gateway.client.look(idOf(path))).toMatchObject({
      state: 'completed',
      key: expect.stringMatching(/whole\.bin$/),
      contentType: 'video/mp4',
    });
  });

  test.each([
    ['small ones', [3, 0, 7, 1]],
    ['small ones before large ones', [100, 6 * MiB, 2 * MiB, 9 * MiB]],
    ['a large one before one that fills no part', [6 * MiB, MiB, 5 * MiB]],
    ['one that ends what another begins', [4 * MiB, MiB, 5 * MiB + 1]],
    ['only empty ones', [0, 0]],
  ])('of %s', async (_, sizes) => {
    const pieces = sizes.map((size, index) => bytesOf(size, `piece ${index}`));
    const paths: string[] = [];
    for (const piece of pieces) paths.push(await partialOf(piece));
    await expectJoined(await final(paths), Buffer.concat(pieces));
  });

  test('keeps the order of the list; a partial one may be there twice, and be used again', async () => {
    const [a, b] = [bytesOf(6 * MiB, 'twice a'), bytesOf(10, 'twice b')];
    const [pathA, pathB] = [await partialOf(a), await partialOf(b)];
    const absolute = `https://elsewhere.example/behind/a/proxy${pathB}`;
    await expectJoined(await final([absolute, pathA, pathB, pathA]), Buffer.concat([b, a, b, a]));
    await expectJoined(await final([pathA]), a);
  });

  test('16 of them, sent at the same time', async () => {
    const pieces = Array.from({ length: 16 }, (_, index) => bytesOf(5 * MiB + index, `parallel ${index}`));
    const paths = await Promise.all(pieces.map(partialOf));
    await expectJoined(await final(paths), Buffer.concat(pieces));
  });

  test('a partial upload is no object, has no key that others could have, and tells what it is', async () => {
    const path = await partialOf(Buffer.from('abc'));
    expect((await client.head(path)).headers).toMatchObject({ 'upload-concat': 'partial', 'upload-offset': '3' });
    expectRefused(await client.send('GET', path), 404, 'object_not_found');
    const create = gateway.client.request('POST', '/uploads', { key: `.partway/partial-${idOf(path)}`, size: 1 });
    expect((await create).status).toBe(400);
  });

  test('a final one takes no bytes, and can be deleted', async () => {
    const path = await final([await partialOf(Buffer.from('abc'))]);
    expectRefused(await client.patch(path, 3, Buffer.from('d')), 403, 'forbidden');
    const waiting = locationOf(await client.create({ 'upload-concat': `final;${await client.upload(3, partial)}` }));
    expectRefused(await client.patch(waiting, 0, Buffer.from('d')), 403, 'forbidden');
    const put = await gateway.client.request('PUT', `/uploads/${idOf(waiting)}/parts/1`, Buffer.from('d'));
    expect(put.status).toBe(409);
    const ofUnknown = idOf(
      locationOf(await client.create({ 'upload-concat': `final;${await client.upload(undefined, partial)}` })),
    );
    expect((await gateway.client.request('POST', `/uploads/${ofUnknown}/complete`, { size: 0 })).status).toBe(409);
    const told = { 'content-range': 'bytes */5' };
    expect((await gateway.client.request('PUT', `/uploads/${ofUnknown}`, undefined, told)).status).toBe(409);
    expect((await client.send('DELETE', path)).status).toBe(204);
    expect((await client.head(path)).status).toBe(410);
  });

  test('what can not be put together is refused, and makes nothing', async () => {
    const done = await partialOf(Buffer.from('abc'));
    const plain = locationOf(await client.create({ 'upload-length': '1' }, Buffer.from('x')));
    const gone = await partialOf(Buffer.from('abc'));
    await client.send('DELETE', gone);
    const before = (await gateway.client.list('?limit=1000')).uploads.length;
    for (const [list, status, code] of [
      ['final;', 400, 'invalid_request'],
      ['final', 400, 'invalid_request'],
      ['both', 400, 'invalid_request'],
      ['final;/else/where', 400, 'invalid_request'],
      [`final;${done},${done}`, 400, 'invalid_request'],
      [`final;${done}\t${done}`, 400, 'invalid_request'],
      [`final;${done} /files/0123`, 404, 'upload_not_found'],
      [`final;${done} ${plain}`, 403, 'forbidden'],
      [`final;${done} ${gone}`, 410, 'upload_gone'],
    ] as const) {
      expectRefused(await client.create({ 'upload-concat': list }), status, code);
    }
    const withLength = { 'upload-concat': `final;${done}`, 'upload-length': '3' };
    expectRefused(await client.create(withLength), 400, 'invalid_request');
    expect((await gateway.client.list('?limit=1000')).uploads).toHaveLength(before);
  });

  test('of what is no longer there as it was is not made', async () => {
    const overwrite = async (path: string, bytes: Buffer) => {
      const key = `.partway/partial-${idOf(path)}`;
      await gateway.probe.store.putObject({ bucket: gateway.bucket, key, body: bytes, sizeBytes: bytes.length });
    };
    const [large, small] = [await partialOf(bytesOf(6 * MiB, 'large')), await partialOf(Buffer.from('small'))];
    await overwrite(small, Buffer.from('other'));
    expectRefused(await client.create({ 'upload-concat': `final;${small} ${large}` }), 410, 'upload_gone');
    // Ceph RGW copies whatever is there.
    if (store === 'rgw') return;
    await overwrite(large, bytesOf(6 * MiB, 'another'));
    expectRefused(await client.create({ 'upload-concat': `final;${large}` }), 410, 'upload_gone');
  });

  test('of unfinished ones is done when the last of them is; its length is told once it is known', async () => {
    const pieces = [bytesOf(6 * MiB, 'early'), bytesOf(6 * MiB, 'late'), bytesOf(7, 'of unknown length')];
    const [early, late] = [await partialOf(pieces[0]!), await client.upload(6 * MiB, partial)];
    const deferred = await client.upload(undefined, partial);
    const path = locationOf(await client.create({ 'upload-concat': `final;${late} ${early} ${deferred}` }));
    const waiting = await client.head(path);
    expect(waiting).toMatchObject({ status: 200, headers: { 'upload-defer-length': '1' } });
    expect(waiting.headers).not.toHaveProperty('upload-offset');
    expect(waiting.headers).not.toHaveProperty('upload-length');

    expectOffset(await client.patch(deferred, 0, pieces[2]!, { 'upload-length': '7' }), 7);
    const known = await client.head(path);
    expect(known).toMatchObject({ status: 200, headers: { 'upload-length': String(12 * MiB + 7) } });
    expect(known.headers).not.toHaveProperty('upload-offset');
    expect((await client.send('GET', path)).status).toBe(404);

    expectOffset(await client.patch(late, 0, pieces[1]!), 6 * MiB);
    await expect
      .poll(async () => (await client.head(path)).headers['upload-offset'], { timeout: 20_000 })
      .toBeDefined();
    await expectJoined(path, Buffer.concat([pieces[1]!, pieces[0]!, pieces[2]!]));
  });

  test('of an unfinished one ends when that is ended without its bytes', async () => {
    const [done, unfinished] = [await partialOf(Buffer.from('abc')), await client.upload(5, partial)];
    const path = locationOf(await client.create({ 'upload-concat': `final;${done} ${unfinished}` }));
    expect((await client.send('DELETE', unfinished)).status).toBe(204);
    await expect.poll(async () => (await client.head(path)).status, { timeout: 20_000 }).toBe(410);
  });

  test('a partial one that an upload waits for is kept beyond its time', async () => {
    const [waitedFor, unwanted] = [await partialOf(Buffer.from('kept')), await partialOf(Buffer.from('not kept'))];
    const unfinished = await client.upload(5, partial);
    const path = locationOf(await client.create({ 'upload-concat': `final;${waitedFor} ${unfinished}` }));
    const ids = [waitedFor, unwanted].map((each) => `'${idOf(each)}'`).join();
    await execute(
      gateway.databaseUrl,
      `update uploads set expires_at = now() where id in (${ids});
       update fragments set lease_until = now() where upload_id in (${ids})`,
    );
    await expect.poll(async () => (await client.head(unwanted)).status, { timeout: 20_000 }).toBe(404);
    expect((await client.head(waitedFor)).status).toBe(200);
    expectOffset(await client.patch(unfinished, 0, Buffer.from('12345')), 5);
    await expect
      .poll(async () => (await client.head(path)).headers['upload-offset'], { timeout: 20_000 })
      .toBeDefined();
    await expectJoined(path, Buffer.from('kept12345'));
    await expect.poll(async () => (await client.head(waitedFor)).status, { timeout: 20_000 }).toBe(404);
  });

  test('while it goes on its HEAD has no offset, and where the store fails it goes on later', async () => {
    const pieces = [bytesOf(6 * MiB, 'later a'), bytesOf(6 * MiB, 'later b')];
    const paths = [await partialOf(pieces[0]!), await partialOf(pieces[1]!)];
    let failures = 0;
    const restore = gateway.probe.before('copyPart', () => {
      failures += 1;
      if (failures > 1) throw new StoreError('unavailable', 'no');
    });
    const path = locationOf(await client.create({ 'upload-concat': `final;${paths.join(' ')}` }));
    const head = await client.head(path);
    expect(head).toMatchObject({ status: 200, headers: { 'upload-length': String(12 * MiB) } });
    expect(head.headers['upload-offset']).toBeUndefined();
    restore();
    await execute(gateway.databaseUrl, `update uploads set work_due = now() where id = '${idOf(path)}'`);
    await expect
      .poll(async () => (await client.head(path)).headers['upload-offset'], { timeout: 20_000 })
      .toBeDefined();
    await expectJoined(path, Buffer.concat(pieces));
  });

  test('the object of a partial one goes when its time is over, and its row with it', async () => {
    const path = await partialOf(Buffer.from('abc'));
    const id = idOf(path);
    const address = { bucket: gateway.bucket, key: `.partway/partial-${id}` };
    gateway.probe.forget();
    await execute(
      gateway.databaseUrl,
      `update uploads set expires_at = now() where id = '${id}'; update fragments set lease_until = now() where upload_id = '${id}'`,
    );
    await expect.poll(async () => (await client.head(path)).status, { timeout: 20_000 }).toBe(404);
    expect(gateway.probe.calls('deleteObjects').flatMap(({ input }) => input.keys)).toContain(address.key);
  });
});
