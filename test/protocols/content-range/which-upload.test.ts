import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { UploadRecords } from '../../../src/core/upload-records.ts';
import { bytesOf, refused } from '../rest/rest-client.ts';
import { availableStores, type RestGateway, startRestGateway } from '../rest/rest-gateway.ts';
import { letIdle, objectAt, onRecord, progressOf, type RangeClient, rangeClient } from './range-client.ts';

const chunkBytes = 100_000;
const size = 4 * chunkBytes - 7;
const monday = bytesOf(size, 'monday');
const tuesday = bytesOf(size, 'tuesday');

const chunkOf = (client: RangeClient, file: Buffer, index: number, total?: number | '*') =>
  client.chunk(file, index * chunkBytes, (index + 1) * chunkBytes, total);

describe.each(await availableStores())('the upload that a name means on %s', (store) => {
  let gateway: RestGateway;
  let other: RestGateway;

  beforeAll(async () => {
    gateway = await startRestGateway(store);
    other = await startRestGateway(store, { beside: gateway });
  });

  afterAll(async () => {
    await other?.stop();
    await gateway.stop();
  });

  const uploadsOf = async (key: string) => (await gateway.client.list(`?prefix=${key}`)).uploads;

  describe('while one is open', () => {
    test('is that one, on any gateway', async () => {
      const { id } = progressOf(await chunkOf(rangeClient(gateway, '/objects/hop'), monday, 0));
      expect(progressOf(await chunkOf(rangeClient(other, '/objects/hop'), monday, 1))).toMatchObject({
        id,
        offset: 2 * chunkBytes,
      });
    });

    test('is another where the total is another', async () => {
      const client = rangeClient(gateway, '/objects/totals');
      const first = progressOf(await chunkOf(client, monday, 0));
      const second = progressOf(await chunkOf(client, monday, 0, size + 1));
      expect(second.id).not.toBe(first.id);
      expect(progressOf(await chunkOf(client, monday, 1)).id).toBe(first.id);
    });

    test('is another in another session, by query or header', async () => {
      const ids = new Set<string>();
      const clients = [
        rangeClient(gateway, '/objects/sessions'),
        rangeClient(gateway, '/objects/sessions?session=a'),
        rangeClient(gateway, '/objects/sessions?session=b'),
      ];
      for (const client of clients) {
        const { id } = progressOf(await chunkOf(client, monday, 0));
        expect(progressOf(await chunkOf(client, monday, 1)).id).toBe(id);
        ids.add(id);
      }
      expect(ids.size).toBe(3);
    });

    test("is none that REST opened, nor a whole object's", async () => {
      const { id } = await gateway.client.create({ key: 'foreign', size });
      const whole = gateway.client.wire.open({
        method: 'PUT',
        path: '/objects/foreign',
        headers: { 'content-length': String(size) },
      });
      await whole.write(monday.subarray(0, chunkBytes));
      await expect.poll(() => uploadsOf('foreign')).toHaveLength(2);
      const opened = progressOf(await chunkOf(rangeClient(gateway, '/objects/foreign'), tuesday, 0));
      expect(opened.id).not.toBe(id);
      whole.request.end(monday.subarray(chunkBytes));
      expect(progressOf(await whole.answer).id).not.toBe(opened.id);
    });
  });

  describe('whose first bytes differ', () => {
    test('is in conflict while somebody writes to it', async () => {
      const client = rangeClient(gateway, '/objects/busy');
      const { id } = progressOf(await chunkOf(client, monday, 0));
      await letIdle(gateway, id, 9);
      await refused(chunkOf(client, tuesday, 0), 409, 'state_conflict');
    });

    test('is superseded once it was idle for ten minutes', async () => {
      const client = rangeClient(gateway, '/objects/superseded');
      const old = progressOf(await chunkOf(client, monday, 0));
      progressOf(await chunkOf(client, monday, 2));
      await letIdle(gateway, old.id, 11);
      const begun = progressOf(await chunkOf(client, tuesday, 0));
      expect(begun.id).not.toBe(old.id);
      expect(begun).toMatchObject({ offset: chunkBytes, receivedBytes: chunkBytes });
      expect(await gateway.client.look(old.id)).toMatchObject({ state: 'aborted', reason: 'superseded' });
      for (const index of [1, 2, 3]) progressOf(await chunkOf(client, tuesday, index));
      expect((await objectAt(gateway, 'superseded'))?.equals(tuesday)).toBe(true);
    });

    test.each([
      ['added to it', tuesday],
      ['sent again what it has', monday],
    ])('is not superseded where somebody has %s since the first chunk began to come', async (_, meanwhile) => {
      const path = `/objects/added-to-${meanwhile === monday}`;
      const client = rangeClient(gateway, path);
      const old = progressOf(await chunkOf(client, monday, 0));
      if (meanwhile === monday) progressOf(await chunkOf(client, monday, 1));
      await letIdle(gateway, old.id, 11);
      const first = gateway.client.wire.open({
        method: 'POST',
        path,
        headers: {
          'content-range': `bytes 0-${chunkBytes - 1}/${size}`,
          'content-length': String(chunkBytes),
          expect: '100-continue',
        },
      });
      await first.continued;
      expect(progressOf(await chunkOf(rangeClient(other, path), meanwhile, 1)).id).toBe(old.id);
      first.request.end(tuesday.subarray(0, chunkBytes));
      expect((await first.answer).status).toBe(409);
      expect(await gateway.client.look(old.id)).toMatchObject({ state: 'open', receivedBytes: 2 * chunkBytes });
    });

    test('is superseded once, by two first chunks on two gateways', async () => {
      const clients = [rangeClient(gateway, '/objects/twice'), rangeClient(other, '/objects/twice')];
      const old = progressOf(await chunkOf(clients[0]!, monday, 0));
      await letIdle(gateway, old.id, 11);
      const begun = (await Promise.all(clients.map((client) => chunkOf(client, tuesday, 0)))).map(progressOf);
      expect(new Set(begun.map(({ id }) => id)).size).toBe(1);
      expect(await uploadsOf('twice')).toHaveLength(2);
    });

    test('goes on, idle or not, when they are the same', async () => {
      const client = rangeClient(gateway, '/objects/continued');
      const { id } = progressOf(await chunkOf(client, monday, 0));
      await letIdle(gateway, id, 600);
      expect(progressOf(await chunkOf(client, monday, 0))).toMatchObject({ id, receivedBytes: chunkBytes });
    });

    test('is dropped for a first chunk too large to be kept, which is to be sent again', {
      timeout: 60_000,
    }, async () => {
      const large = 9 * 1024 ** 2;
      const client = rangeClient(gateway, '/objects/large');
      const [one, two] = [bytesOf(2 * large, 'one'), bytesOf(2 * large, 'two')];
      const old = progressOf(await client.chunk(one, 0, large));
      await letIdle(gateway, old.id, 11);
      expect(await refused(client.chunk(two, 0, large), 503, 'busy')).toMatchObject({ retryAfter: 1 });
      const begun = progressOf(await client.chunk(two, 0, large));
      expect(begun.id).not.toBe(old.id);
      progressOf(await client.chunk(two, large, 2 * large));
      expect((await objectAt(gateway, 'large'))?.equals(two)).toBe(true);
    });
  });

  describe('when none was there before', () => {
    test('is opened by whichever chunk comes first', async () => {
      const client = rangeClient(gateway, '/objects/any-first');
      for (const index of [3, 1, 0, 2]) progressOf(await chunkOf(client, monday, index));
      expect((await objectAt(gateway, 'any-first'))?.equals(monday)).toBe(true);
    });

    test('is one, for first chunks that come to two gateways at once', async () => {
      const answers = await Promise.all(
        [0, 1, 2, 3].map((index) => chunkOf(rangeClient(index % 2 ? other : gateway, '/objects/race'), monday, index)),
      );
      expect(new Set(answers.map((answer) => progressOf(answer).id)).size).toBe(1);
      expect(await uploadsOf('race')).toHaveLength(1);
      expect((await objectAt(gateway, 'race'))?.equals(monday)).toBe(true);
    });

    test('is one, for two that both found none', async () => {
      const bothLooked = Promise.withResolvers<void>();
      let looks = 0;
      const wrapRecords = (records: UploadRecords): UploadRecords =>
        new Proxy(records, {
          get: (target, name) => {
            if (name !== 'findByName') return Reflect.get(target, name, target);
            return async (input: Parameters<UploadRecords['findByName']>[0]) => {
              const found = await target.findByName(input);
              looks += 1;
              if (looks === 2) bothLooked.resolve();
              if (looks <= 2) await bothLooked.promise;
              return found;
            };
          },
        });
      await using stack = new AsyncDisposableStack();
      const rivals: RangeClient[] = [];
      for (let count = 0; count < 2; count++) {
        const rival = await startRestGateway(store, { beside: gateway, wrapRecords });
        stack.defer(() => rival.stop());
        rivals.push(rangeClient(rival, '/objects/both'));
      }
      const answers = await Promise.all(rivals.map((client, index) => chunkOf(client, monday, index)));
      expect(looks).toBeGreaterThanOrEqual(2);
      expect(new Set(answers.map((answer) => progressOf(answer).id)).size).toBe(1);
      expect(await uploadsOf('both')).toHaveLength(1);
    });

    test('is waited for while another request opens it', async () => {
      const { reached, release } = gateway.probe.hold('createMultipartUpload');
      const first = chunkOf(rangeClient(gateway, '/objects/opening'), monday, 0);
      await reached;
      const second = chunkOf(rangeClient(other, '/objects/opening'), monday, 1);
      await expect(Promise.race([second, sleep(300, 'waits')])).resolves.toBe('waits');
      release();
      expect(progressOf(await second).id).toBe(progressOf(await first).id);
    });
  });

  describe('when an earlier one is completed', () => {
    const complete = async (key: string) => {
      const client = rangeClient(gateway, `/objects/${key}`);
      return { client, completed: progressOf(await client.sendAll(monday, chunkBytes)) };
    };

    test('is a new one for a first chunk', async () => {
      const { client, completed } = await complete('next');
      const next = progressOf(await client.sendAll(tuesday, chunkBytes));
      expect(next.id).not.toBe(completed.id);
      expect((await objectAt(gateway, 'next'))?.equals(tuesday)).toBe(true);
    });

    test('is a new one for a first chunk, whichever gateway completed it', async () => {
      const [here, there] = [rangeClient(gateway, '/objects/hopping'), rangeClient(other, '/objects/hopping')];
      const parity = (index: number) => (index % 2 === 0 ? here : there);
      for (const index of [0, 1, 2, 3]) progressOf(await chunkOf(parity(index), monday, index));
      for (const index of [0, 1, 2, 3]) progressOf(await chunkOf(parity(index), tuesday, index));
      expect((await objectAt(gateway, 'hopping'))?.equals(tuesday)).toBe(true);
    });

    test('is that one for a repeated chunk, whose answer was lost', { timeout: 30_000 }, async () => {
      const { client, completed } = await complete('lost-answer');
      gateway.probe.forget();
      expect(progressOf(await chunkOf(client, monday, 3))).toEqual(completed);
      expect(progressOf(await chunkOf(rangeClient(other, '/objects/lost-answer'), monday, 1))).toEqual(completed);
      expect(gateway.probe.calls('createMultipartUpload')).toEqual([]);
    });

    test('is that one for repeated chunks, also the first: nothing is left open for others to meet', async () => {
      const { client, completed } = await complete('first-again');
      for (const index of [0, 1]) expect(progressOf(await chunkOf(client, monday, index))).toEqual(completed);
      expect(await uploadsOf('first-again')).toHaveLength(1);
      const there = rangeClient(other, '/objects/first-again');
      const [third] = await Promise.all([2, 0, 1, 3].map((index) => chunkOf(there, tuesday, index)));
      expect(progressOf(third!).id).not.toBe(completed.id);
      expect((await objectAt(gateway, 'first-again'))?.equals(tuesday)).toBe(true);
    });

    test('is a new one for a file that has grown, whose size is told with its end', async () => {
      const client = rangeClient(gateway, '/objects/grown');
      const send = async (file: Buffer) => {
        for (const index of [0, 1, 2]) progressOf(await chunkOf(client, file, index, '*'));
        return progressOf(await client.chunk(file, 3 * chunkBytes, file.length));
      };
      await send(monday);
      const grown = Buffer.concat([monday, Buffer.from('more')]);
      expect((await send(grown)).size).toBe(grown.length);
      expect((await objectAt(gateway, 'grown'))?.equals(grown)).toBe(true);
    });

    test('is that one for a repeated first chunk that is too large to be kept; another is to be sent again', async () => {
      const large = 9 * 1024 ** 2;
      const client = rangeClient(gateway, '/objects/large-again');
      const [one, two] = [bytesOf(large + 7, 'one again'), bytesOf(large + 7, 'two again')];
      const completed = progressOf(await client.sendAll(one, large));
      expect(progressOf(await client.chunk(one, 0, large))).toEqual(completed);
      expect(await refused(client.chunk(two, 0, large), 503, 'busy')).toMatchObject({ retryAfter: 1 });
      expect(progressOf(await client.sendAll(two, large)).id).not.toBe(completed.id);
      expect((await objectAt(gateway, 'large-again'))?.equals(two)).toBe(true);
    });

    test('is that one for a first chunk that comes again garbled', async () => {
      const { client } = await complete('garbled-again');
      const first = monday.subarray(0, chunkBytes);
      const garbled = Buffer.from(first);
      garbled[0]! ^= 1;
      const md5 = { 'content-md5': createHash('md5').update(first).digest('base64') };
      await refused(client.send(`bytes 0-${chunkBytes - 1}/${size}`, garbled, md5), 422, 'digest_mismatch');
      expect(await uploadsOf('garbled-again')).toHaveLength(1);
    });

    test('is a new one for a repeated first chunk where its object is gone', async () => {
      const { client, completed } = await complete('first-gone');
      await gateway.probe.store.deleteObjects({ bucket: gateway.bucket, keys: ['first-gone'] });
      expect(progressOf(await client.sendAll(monday, chunkBytes)).id).not.toBe(completed.id);
      expect((await objectAt(gateway, 'first-gone'))?.equals(monday)).toBe(true);
    });

    test('is that one for a repeated chunk, though its slot was composed', { timeout: 60_000 }, async () => {
      const MiB = 1024 ** 2;
      const client = rangeClient(gateway, '/objects/lost-composed');
      const large = bytesOf(10 * MiB, 'composed');
      const completed = progressOf(await client.sendAll(large, MiB));
      expect(progressOf(await client.chunk(large, 3 * MiB, 4 * MiB))).toEqual(completed);
      expect(progressOf(await client.chunk(large, 9 * MiB, 10 * MiB))).toEqual(completed);
    });

    test('is in conflict with a chunk that differs', { timeout: 30_000 }, async () => {
      const { client } = await complete('completed-other');
      expect(await refused(chunkOf(client, tuesday, 2), 409, 'state_conflict')).toMatchObject({ conflict: 'differs' });
    });

    test('is the next one, also where a gateway remembers the end of the last', async () => {
      const { client, completed } = await complete('remembered');
      expect(progressOf(await chunkOf(client, monday, 1))).toEqual(completed);
      const { id } = progressOf(await chunkOf(rangeClient(other, '/objects/remembered'), tuesday, 0));
      expect(progressOf(await chunkOf(client, tuesday, 1)).id).toBe(id);
    });

    test('is the next one for a chunk that overtook the first', async () => {
      const { client, completed } = await complete('overtaken');
      const overtaking = chunkOf(client, tuesday, 2);
      await expect(Promise.race([overtaking, sleep(500, 'waits')])).resolves.toBe('waits');
      const { id } = progressOf(await chunkOf(rangeClient(other, '/objects/overtaken'), tuesday, 0));
      expect(progressOf(await overtaking).id).toBe(id);
      expect(id).not.toBe(completed.id);
    });
  });

  describe('when an earlier one is gone', () => {
    test.each(['lost', 'expired', 'requested'] as const)('%s, is none for the middle of a file', async (reason) => {
      const client = rangeClient(gateway, `/objects/gone-${reason}`);
      const { id } = progressOf(await chunkOf(client, monday, 0));
      await gateway.client.request('DELETE', `/uploads/${id}`);
      await onRecord(gateway, 'update uploads set reason = $2 where id = $1', [id, reason]);
      await refused(client.ask(size), 410, 'upload_gone');
      const began = performance.now();
      expect(await refused(chunkOf(client, monday, 1), 410, 'upload_gone')).toMatchObject({ reason });
      expect(performance.now() - began).toBeGreaterThan(4_000);
      expect(await uploadsOf(`gone-${reason}`)).toHaveLength(1);
    });

    test('is a new one for the first chunk of a file', async () => {
      const client = rangeClient(gateway, '/objects/anew');
      const { id } = progressOf(await chunkOf(client, monday, 0));
      await gateway.client.request('DELETE', `/uploads/${id}`);
      const begun = progressOf(await client.sendAll(monday, chunkBytes));
      expect(begun.id).not.toBe(id);
      expect((await objectAt(gateway, 'anew'))?.equals(monday)).toBe(true);
    });
  });

  test.each([
    ['a chunk', (client: RangeClient) => chunkOf(client, monday, 3)],
    ['the question where to go on', (client: RangeClient) => client.ask(size)],
  ])('%s for an upload that completes waits for it', async (what, send) => {
    const path = `/objects/completing-${what.length}`;
    const client = rangeClient(gateway, path);
    for (const index of [0, 1, 2]) progressOf(await chunkOf(client, monday, index));
    const { reached, release } = gateway.probe.hold('completeMultipartUpload');
    const last = chunkOf(client, monday, 3);
    await reached;
    const repeat = send(rangeClient(other, path));
    await expect(Promise.race([repeat, sleep(500, 'waits')])).resolves.toBe('waits');
    release();
    expect(progressOf(await repeat)).toEqual(progressOf(await last));
  });
});
