import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { countRecords } from '../rest/count-records.ts';
import { bytesOf, refused } from '../rest/rest-client.ts';
import { availableStores, type RestGateway, startRestGateway } from '../rest/rest-gateway.ts';
import { objectAt, progressOf, rangeClient } from './range-client.ts';

const MiB = 1024 ** 2;
const chunkBytes = MiB;
const file = bytesOf(3 * MiB + 12_345, 'file');
const size = file.length;

describe.each(await availableStores())('chunks of a name on %s', (store) => {
  let gateway: RestGateway;

  beforeAll(async () => {
    gateway = await startRestGateway(store);
  });

  afterAll(() => gateway.stop());

  test('a chunk is answered with how far the upload is and what is missing', async () => {
    const client = rangeClient(gateway, '/objects/folder/progress.bin');
    expect(progressOf(await client.chunk(file, 0, chunkBytes))).toMatchObject({
      state: 'open',
      key: 'folder/progress.bin',
      size,
      offset: chunkBytes,
      receivedBytes: chunkBytes,
      missing: [{ offset: chunkBytes, size: size - chunkBytes }],
    });
  });

  test('the last missing byte makes the object, and is answered with its ETag', async () => {
    const client = rangeClient(gateway, '/objects/last.bin');
    const completed = progressOf(await client.sendAll(file, chunkBytes));
    expect(completed).toMatchObject({ state: 'completed', key: 'last.bin', size, offset: size, missing: [] });
    expect(completed.etag).toMatch(/^".+"$/);
    expect((await objectAt(gateway, 'last.bin'))?.equals(file)).toBe(true);
  });

  test('a last chunk whose range runs past the whole is as long as its body', async () => {
    const client = rangeClient(gateway, '/objects/clamped.bin');
    for (let from = 0; from < size; from += chunkBytes) {
      const range = `bytes ${from}-${from + chunkBytes - 1}/${size}`;
      progressOf(await client.send(range, file.subarray(from, from + chunkBytes)));
    }
    expect((await objectAt(gateway, 'clamped.bin'))?.equals(file)).toBe(true);
  });

  test('chunks come in any order, and what is missing in between is named', async () => {
    const client = rangeClient(gateway, '/objects/order.bin');
    await client.chunk(file, 2 * chunkBytes, 3 * chunkBytes);
    const { offset, receivedBytes, missing } = progressOf(await client.chunk(file, 0, chunkBytes));
    expect({ offset, receivedBytes }).toEqual({ offset: chunkBytes, receivedBytes: 2 * chunkBytes });
    expect(missing).toEqual([
      { offset: chunkBytes, size: chunkBytes },
      { offset: 3 * chunkBytes, size: size - 3 * chunkBytes },
    ]);
    await client.chunk(file, 3 * chunkBytes, size);
    expect(progressOf(await client.chunk(file, chunkBytes, 2 * chunkBytes)).state).toBe('completed');
    expect((await objectAt(gateway, 'order.bin'))?.equals(file)).toBe(true);
  });

  test('chunks that come all at once make one upload and one object', async () => {
    const client = rangeClient(gateway, '/objects/at-once.bin');
    const offsets = Array.from({ length: 40 }, (_, index) => index * 100_000).filter((from) => from < size);
    const answers = await Promise.all(offsets.map((from) => client.chunk(file, from, from + 100_000)));
    const progress = answers.map(progressOf);
    expect(new Set(progress.map(({ id }) => id)).size).toBe(1);
    expect(progress.map(({ state }) => state)).toContain('completed');
    expect((await objectAt(gateway, 'at-once.bin'))?.equals(file)).toBe(true);
    expect((await gateway.client.list('?prefix=at-once')).uploads).toHaveLength(1);
  });

  test('the same range again is 200, and nothing is stored twice', async () => {
    const client = rangeClient(gateway, '/objects/again.bin');
    const { id } = progressOf(await client.chunk(file, 0, chunkBytes));
    gateway.probe.forget();
    expect(progressOf(await client.chunk(file, 0, chunkBytes))).toMatchObject({ id, receivedBytes: chunkBytes });
    expect(gateway.probe.calls('putObject').concat(gateway.probe.calls('uploadPart'))).toEqual([]);
  });

  test.each([5, 8, 9, 30])(
    'the same %i MiB again are compared, though they are more than is held in memory',
    async (mebibytes) => {
      const chunk = bytesOf(mebibytes * MiB, 'large');
      const client = rangeClient(gateway, `/objects/again-${mebibytes}.bin`);
      const range = `bytes 0-${chunk.length - 1}/${2 * chunk.length}`;
      const stored = progressOf(await client.send(range, chunk));
      gateway.probe.forget();
      expect(progressOf(await client.send(range, chunk))).toEqual(stored);
      expect(gateway.probe.calls('putObject').concat(gateway.probe.calls('uploadPart'))).toEqual([]);
      chunk[chunk.length - 1]! ^= 1;
      expect(await refused(client.send(range, chunk), 409, 'state_conflict')).toMatchObject({ conflict: 'differs' });
    },
  );

  test('the same range of a slot that is composed by now is 200', async () => {
    const client = rangeClient(gateway, '/objects/composed.bin');
    const large = bytesOf(20 * MiB, 'composed');
    for (let from = 0; from < 10 * MiB; from += MiB) progressOf(await client.chunk(large, from, from + MiB));
    await gateway.probe.nth('uploadPart', 1);
    expect(progressOf(await client.chunk(large, 3 * MiB, 4 * MiB))).toMatchObject({ offset: 10 * MiB });
  });

  test('of a range that overlaps stored bytes the new ones are stored', async () => {
    const client = rangeClient(gateway, '/objects/overlap.bin');
    await client.chunk(file, 0, chunkBytes);
    expect(progressOf(await client.chunk(file, 0, 2 * chunkBytes))).toMatchObject({
      offset: 2 * chunkBytes,
      receivedBytes: 2 * chunkBytes,
    });
    progressOf(await client.chunk(file, 2 * chunkBytes, size));
    expect((await objectAt(gateway, 'overlap.bin'))?.equals(file)).toBe(true);
  });

  test('bytes that differ from the stored ones are refused, change nothing, and keep it from completing by itself', async () => {
    const client = rangeClient(gateway, '/objects/differ.bin');
    const { id } = progressOf(await client.chunk(file, 0, chunkBytes));
    const other = bytesOf(size, 'other file');
    const conflict = await refused(client.chunk(other, 0, chunkBytes), 409, 'state_conflict');
    expect(conflict).toMatchObject({ conflict: 'differs' });
    expect(progressOf(await client.ask())).toMatchObject({ id, offset: chunkBytes, conflicted: true });
    expect(await gateway.client.look(id)).toMatchObject({ conflicted: true });
    expect(progressOf(await client.chunk(file, chunkBytes, size))).toMatchObject({
      state: 'open',
      offset: size,
      missing: [],
    });
    expect(await objectAt(gateway, 'differ.bin')).toBeUndefined();
    await gateway.client.complete(id);
    expect((await objectAt(gateway, 'differ.bin'))?.equals(file)).toBe(true);
  });

  test('a body that breaks off is no chunk: it is named as missing', async () => {
    const client = rangeClient(gateway, '/objects/broken.bin');
    progressOf(await client.chunk(file, 0, 1000));
    const exchange = gateway.client.wire.open({
      method: 'PUT',
      path: client.path,
      headers: { 'content-range': `bytes 1000-200999/${size}`, 'content-length': '200000' },
    });
    await exchange.write(file.subarray(1000, 50_000));
    exchange.request.destroy();
    await expect(exchange.answer).rejects.toThrow();
    const { offset, missing } = progressOf(await client.ask());
    expect(offset).toBeLessThan(201_000);
    expect(missing).toEqual([{ offset, size: size - offset }]);
    progressOf(await client.chunk(file, 1000, 201_000));
    progressOf(await client.chunk(file, 201_000, size));
    expect((await objectAt(gateway, 'broken.bin'))?.equals(file)).toBe(true);
  });

  test('a body of unknown length belongs where its range says', async () => {
    const client = rangeClient(gateway, '/objects/chunked.bin');
    const exchange = gateway.client.wire.open({
      method: 'PUT',
      path: client.path,
      headers: { 'content-range': `bytes 0-${size - 1}/${size}`, 'transfer-encoding': 'chunked' },
    });
    exchange.request.end(file);
    expect(progressOf(await exchange.answer).state).toBe('completed');
    expect((await objectAt(gateway, 'chunked.bin'))?.equals(file)).toBe(true);
  });

  test('a total that is told late ends the upload there', async () => {
    const client = rangeClient(gateway, '/objects/late.bin');
    const { id, size: unknown } = progressOf(await client.chunk(file, 0, chunkBytes, '*'));
    expect(unknown).toBeUndefined();
    expect(progressOf(await client.chunk(file, chunkBytes, 2 * chunkBytes, '*'))).toMatchObject({
      id,
      missing: [{ offset: 2 * chunkBytes }],
    });
    expect(progressOf(await client.chunk(file, 2 * chunkBytes, size))).toMatchObject({ id, state: 'completed', size });
    expect((await objectAt(gateway, 'late.bin'))?.equals(file)).toBe(true);
  });

  test('a total that is told without bytes completes what is whole', async () => {
    const client = rangeClient(gateway, '/objects/told.bin');
    const { id } = progressOf(await client.chunk(file, 0, chunkBytes, '*'));
    expect(progressOf(await client.ask(chunkBytes))).toMatchObject({ id, state: 'completed', size: chunkBytes });
    expect((await objectAt(gateway, 'told.bin'))?.equals(file.subarray(0, chunkBytes))).toBe(true);
  });

  describe('who asks where to go on', () => {
    test('is answered as a chunk is, with or without the total', async () => {
      const client = rangeClient(gateway, '/objects/asked.bin');
      const told = progressOf(await client.chunk(file, 0, chunkBytes));
      expect(progressOf(await client.ask(size))).toEqual(told);
      expect(progressOf(await client.ask('*'))).toEqual(told);
    });

    test('hears that it is completed', async () => {
      const client = rangeClient(gateway, '/objects/asked-late.bin');
      const told = progressOf(await client.sendAll(file, chunkBytes));
      expect(progressOf(await client.ask(size))).toEqual(told);
    });

    test('opens nothing', async () => {
      const client = rangeClient(gateway, '/objects/asked-first.bin');
      await refused(client.ask(size), 404, 'upload_not_found');
      expect((await gateway.client.list('?prefix=asked-first')).uploads).toEqual([]);
    });
  });

  test('a chunk in order costs two round trips to the records', async () => {
    const counted: string[] = [];
    const metered = await startRestGateway(store, { beside: gateway, wrapRecords: countRecords(counted) });
    try {
      const client = rangeClient(metered, '/objects/cheap.bin');
      await client.chunk(file, 0, 1000);
      await client.chunk(file, 1000, 2000);
      counted.length = 0;
      await client.chunk(file, 2000, 3000);
      expect(counted).toEqual(['beginFragment', 'commitFragment']);
    } finally {
      await metered.stop();
    }
  });
});
