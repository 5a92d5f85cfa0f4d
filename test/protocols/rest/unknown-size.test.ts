import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bytesOf, refused } from './rest-client.ts';
import { availableStores, type RestGateway, startRestGateway } from './rest-gateway.ts';

const MiB = 1024 ** 2;
const partSize = 5 * MiB;

describe.each(await availableStores())('an upload of unknown size on %s', (store) => {
  let gateway: RestGateway;

  beforeAll(async () => {
    gateway = await startRestGateway(store);
  });

  afterAll(() => gateway.stop());

  test('a shorter part is its last, and fixes its size', async () => {
    const { id } = await gateway.client.create({ key: 'shorter', partSize });
    const [first, last] = [bytesOf(partSize, 'first'), bytesOf(3, 'last')];
    await gateway.client.putPart(id, 2, last);
    expect(await gateway.client.look(id)).toMatchObject({ size: partSize + 3, offset: 0, partCount: 2 });
    await gateway.client.putPart(id, 1, first);
    await gateway.client.complete(id);
    expect((await gateway.client.read('shorter')).bytes.equals(Buffer.concat([first, last]))).toBe(true);
  });

  test('complete fixes its size where all parts are full', async () => {
    const { id } = await gateway.client.create({ key: 'full', partSize });
    await gateway.client.putPart(id, 1, bytesOf(partSize));
    expect(await gateway.client.complete(id)).toMatchObject({ size: partSize });
  });

  test('refuses a part that would end it before later bytes', async () => {
    const { id } = await gateway.client.create({ key: 'later', partSize });
    await gateway.client.putPart(id, 3, bytesOf(partSize));
    gateway.probe.forget();
    await refused(gateway.client.request('PUT', `/uploads/${id}/parts/2`, bytesOf(3)), 409, 'state_conflict');
    expect(gateway.probe.calls('uploadPart')).toEqual([]);
    expect(await gateway.client.look(id)).not.toHaveProperty('size');
  });

  test('refuses a part after the last one', async () => {
    const { id } = await gateway.client.create({ key: 'after', partSize });
    await gateway.client.putPart(id, 1, bytesOf(3));
    await refused(gateway.client.request('PUT', `/uploads/${id}/parts/2`, bytesOf(3)), 413, 'limit_exceeded');
  });

  test('refuses an empty part but the first', async () => {
    const { id } = await gateway.client.create({ key: 'empty', partSize });
    await refused(gateway.client.request('PUT', `/uploads/${id}/parts/2`, Buffer.alloc(0)), 422, 'part_size_mismatch');
    await gateway.client.putPart(id, 1, Buffer.alloc(0));
    expect(await gateway.client.complete(id)).toMatchObject({ size: 0 });
    expect((await gateway.client.read('empty')).bytes).toHaveLength(0);
  });

  test('completes with nothing stored only where complete says that it is empty', async () => {
    const { id } = await gateway.client.create({ key: 'nothing' });
    await refused(gateway.client.request('POST', `/uploads/${id}/complete`), 409, 'incomplete');
    expect(await gateway.client.complete(id, { size: 0 })).toMatchObject({ state: 'completed', size: 0 });
  });

  test('names what is missing of the size that complete gives', async () => {
    const { id } = await gateway.client.create({ key: 'larger', partSize });
    await gateway.client.putPart(id, 1, bytesOf(partSize));
    const body = { size: partSize + 7 };
    const problem = await refused(gateway.client.request('POST', `/uploads/${id}/complete`, body), 409, 'incomplete');
    expect(problem.missing).toEqual([{ partNumber: 2, offset: partSize, size: 7 }]);
  });

  test('calls a size below what is stored a conflict, not missing bytes', async () => {
    const { id } = await gateway.client.create({ key: 'smaller', partSize });
    await gateway.client.putPart(id, 1, bytesOf(partSize));
    const complete = gateway.client.request('POST', `/uploads/${id}/complete`, { size: 7 });
    await refused(complete, 409, 'state_conflict');
  });

  test('goes on growing after a complete that was refused', async () => {
    const { id } = await gateway.client.create({ key: 'refused', partSize });
    const crc32 = { 'x-amz-checksum-crc32': 'AAAAAA==' };
    await refused(
      gateway.client.request('PUT', `/uploads/${id}/parts/1`, bytesOf(partSize), crc32),
      422,
      'digest_mismatch',
    );
    await gateway.client.putPart(id, 1, bytesOf(partSize));
    const complete = gateway.client.request('POST', `/uploads/${id}/complete`, { digest: 'crc32=:AAAAAA==:' });
    await refused(complete, 400, 'invalid_request');
    expect(await gateway.client.look(id)).not.toHaveProperty('size');
    await gateway.client.putPart(id, 2, bytesOf(partSize));
    expect(await gateway.client.complete(id)).toMatchObject({ size: 2 * partSize });
  });
});
