import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { StoreError } from '../../../src/core/object-store.ts';
import { bytesOf } from '../rest/rest-client.ts';
import { allStores, type RestGateway, startRestGateway } from '../rest/rest-gateway.ts';
import { expectOffset, expectRefused, locationOf, TusClient } from './tus-client.ts';

const MiB = 1024 ** 2;

describe.each(await allStores())('uploads that several requests are at, on %s', (store) => {
  let gateway: RestGateway;
  let other: RestGateway;
  let client: TusClient;
  let elsewhere: TusClient;

  beforeAll(async () => {
    gateway = await startRestGateway(store);
    other = await startRestGateway(store, { beside: gateway });
    client = new TusClient(gateway.url);
    elsewhere = new TusClient(other.url);
  });

  afterAll(async () => {
    client?.close();
    elsewhere?.close();
    await other?.stop();
    await gateway?.stop();
  });

  const offsetAt = async (at: TusClient, path: string) => Number((await at.head(path)).headers['upload-offset']);

  /** As clients do: from where the upload is. @returns the status of the PATCH */
  async function goOn(at: TusClient, path: string, bytes: Buffer): Promise<number> {
    const offset = await offsetAt(at, path);
    return (await at.patch(path, offset, bytes.subarray(offset))).status;
  }

  /** A PATCH of 2 MiB that hangs in the middle. */
  async function hanging(path: string, bytes: Buffer) {
    const exchange = client.openPatch(path, 0, { 'content-length': String(bytes.length) });
    exchange.answer.catch(() => undefined);
    gateway.probe.forget();
    await exchange.write(bytes.subarray(0, MiB));
    await gateway.probe.nth('uploadPart', 1);
    return exchange;
  }

  test.each(['here', 'elsewhere'])(
    'HEAD (%s) tells what a PATCH that hangs has brought, and leaves it be',
    async (where) => {
      const bytes = bytesOf(2 * MiB, `hanging ${where}`);
      const path = await client.upload(bytes.length);
      const patch = await hanging(path, bytes);
      await expect.poll(() => offsetAt(where === 'here' ? client : elsewhere, path)).toBe(MiB);
      patch.request.end(bytes.subarray(MiB));
      expectOffset(await patch.answer, bytes.length);
      expect((await client.send('GET', path)).bytes.equals(bytes)).toBe(true);
    },
  );

  test.each(['here', 'elsewhere'])('a newer PATCH (%s) takes over from one that hangs', async (where) => {
    const at = where === 'here' ? client : elsewhere;
    const bytes = bytesOf(2 * MiB, `over ${where}`);
    const path = await client.upload(bytes.length);
    const patch = await hanging(path, bytes);
    await expect.poll(() => goOn(at, path, bytes)).toBe(204);
    patch.request.destroy();
    expect((await client.send('GET', path)).bytes.equals(bytes)).toBe(true);
  });

  test.each(['here', 'elsewhere'])(
    'a PATCH (%s) below what one that hangs has made durable is refused',
    async (where) => {
      const at = where === 'here' ? client : elsewhere;
      const bytes = bytesOf(2 * MiB, `below ${where}`);
      const path = await client.upload(bytes.length);
      const patch = await hanging(path, bytes);
      await expect.poll(() => offsetAt(at, path)).toBe(MiB);
      for (const offset of [0, MiB - 1]) {
        expectRefused(await at.patch(path, offset, bytesOf(MiB, 'other bytes')), 409, 'state_conflict');
      }
      patch.request.end(bytes.subarray(MiB));
      expectOffset(await patch.answer, bytes.length);
      expect((await client.send('GET', path)).bytes.equals(bytes)).toBe(true);
    },
  );

  test.each([10, 200_000, 2 * MiB])('of PATCHes of %d bytes that come at once one counts', async (sizeBytes) => {
    const path = await client.upload(sizeBytes + 1);
    const sent = ['1', '2', '3'].map((fill) => Buffer.alloc(sizeBytes, fill));
    const answers = await Promise.all(
      sent.map((body, index) => (index === 1 ? elsewhere : client).patch(path, 0, body)),
    );
    const counted = sent.filter((_, index) => answers[index]?.status === 204);
    for (const { status } of answers) expect([204, 409, 423]).toContain(status);
    expect(counted).toHaveLength(1);
    expectOffset(await client.patch(path, sizeBytes, Buffer.from('!')), sizeBytes + 1);
    const { bytes } = await client.send('GET', path);
    expect(bytes.equals(Buffer.concat([...counted, Buffer.from('!')]))).toBe(true);
  });

  test.each(['here', 'elsewhere'])('DELETE (%s) ends one that has sent little of little', async (where) => {
    const path = await client.upload(1000);
    const patch = client.openPatch(path, 0, { 'content-length': '1000' });
    await patch.write(Buffer.from('xx'));
    await expect.poll(() => offsetAt(client, path)).toBe(2);
    expect((await (where === 'here' ? client : elsewhere).send('DELETE', path)).status).toBe(204);
    expectRefused(await patch.answer, 410, 'upload_gone');
  });

  test.each(['here', 'elsewhere'])('DELETE (%s) ends one that hangs', async (where) => {
    const at = where === 'here' ? client : elsewhere;
    const bytes = bytesOf(2 * MiB, `ended ${where}`);
    const path = await client.upload(bytes.length);
    const patch = await hanging(path, bytes);
    expect((await at.send('DELETE', path)).status).toBe(204);
    expect((await client.head(path)).status).toBe(410);
    patch.request.destroy();
  });

  test('a PATCH without bytes tells what happened elsewhere', async () => {
    const path = await client.upload(9);
    expectOffset(await client.patch(path, 0, Buffer.from('abc')), 3);
    expectOffset(await elsewhere.patch(path, 3, Buffer.from('def')), 6);
    expectRefused(await client.patch(path, 3, Buffer.alloc(0)), 409, 'state_conflict');
    expectOffset(await client.patch(path, 6, Buffer.from('g')), 7);
    expect((await elsewhere.send('DELETE', path)).status).toBe(204);
    expectRefused(await client.patch(path, 7, Buffer.alloc(0)), 410, 'upload_gone');
  });

  test.each([3, 6 * MiB])(
    'a PATCH of %d bytes at an offset that was right before another’s is refused',
    async (chunkBytes) => {
      const bytes = bytesOf(4 * chunkBytes, 'outdated');
      const path = await client.upload(bytes.length);
      const piece = (index: number) => bytes.subarray(index * chunkBytes, (index + 1) * chunkBytes);
      expectOffset(await client.patch(path, 0, piece(0)), chunkBytes);
      expectOffset(await elsewhere.patch(path, chunkBytes, piece(1)), 2 * chunkBytes);
      const other = bytesOf(2 * chunkBytes, 'other bytes');
      expectRefused(await client.patch(path, chunkBytes, other), 409, 'state_conflict');
      expect(await offsetAt(client, path)).toBe(2 * chunkBytes);
      expectOffset(await client.patch(path, 2 * chunkBytes, bytes.subarray(2 * chunkBytes)), bytes.length);
      expect((await client.send('GET', path)).bytes.equals(bytes)).toBe(true);
    },
  );

  test('a PATCH that is cut off leaves what came', async () => {
    const bytes = bytesOf(12 * MiB, 'cut');
    const path = await client.upload(bytes.length);
    const patch = client.openPatch(path, 0, { 'content-length': String(bytes.length) });
    patch.answer.catch(() => undefined);
    await patch.write(bytes.subarray(0, 9 * MiB + 17));
    patch.request.destroy();
    await expect.poll(() => offsetAt(client, path), { timeout: 20_000 }).toBeGreaterThan(0);
    const offset = await offsetAt(client, path);
    expect(offset).toBeLessThanOrEqual(9 * MiB + 17);
    await expect.poll(() => goOn(client, path, bytes)).toBe(204);
    expect((await client.send('GET', path)).bytes.equals(bytes)).toBe(true);
  });

  test('bytes beyond a hole are no offset', async () => {
    const path = await client.upload(3 * MiB);
    const id = path.slice('/files/'.length);
    const bytes = bytesOf(3 * MiB, 'hole');
    const put = await client.wire.send(
      {
        method: 'PUT',
        path: `/uploads/${id}`,
        headers: { 'content-range': `bytes ${2 * MiB}-${3 * MiB - 1}/${3 * MiB}` },
      },
      bytes.subarray(2 * MiB),
    );
    expect(put.status).toBeLessThan(300);
    expect(await offsetAt(client, path)).toBe(0);
    expectOffset(await client.patch(path, 0, bytes.subarray(0, 2 * MiB)), 3 * MiB);
    expect((await client.send('GET', path)).bytes.equals(bytes)).toBe(true);
  });

  describe('while the store has not made the object', () => {
    test('HEAD tells no offset: 423, and the length only afterwards', async () => {
      const path = await client.upload(3);
      const held = gateway.probe.hold('completeMultipartUpload');
      const patch = client.patch(path, 0, Buffer.from('abc'));
      await held.reached;
      for (const at of [client, elsewhere]) {
        const head = await at.head(path);
        expect({ status: head.status, offset: head.headers['upload-offset'] }).toEqual({
          status: 423,
          offset: undefined,
        });
        expect(Number(head.headers['retry-after'])).toBeGreaterThan(0);
      }
      held.release();
      expectOffset(await patch, 3);
      expect(await offsetAt(client, path)).toBe(3);
    });

    test('a PATCH whose Complete fails is 503, and the next HEAD completes', async () => {
      const path = await client.upload(3);
      const restore = gateway.probe.before('completeMultipartUpload', () => {
        throw new StoreError('refused', 'no');
      });
      const answer = await client.patch(path, 0, Buffer.from('abc'));
      restore();
      expectRefused(answer, 503, 'store_refused');
      expect(await offsetAt(client, path)).toBe(3);
      expect((await client.send('GET', path)).text).toBe('abc');
    });

    test('the creation of an empty upload whose Complete fails is none', async () => {
      const restore = gateway.probe.before('completeMultipartUpload', () => {
        throw new StoreError('refused', 'no');
      });
      const before = (await gateway.client.list('?state=open')).uploads.length;
      const answer = await client.create({ 'upload-length': '0' });
      restore();
      expectRefused(answer, 503, 'store_refused');
      expect((await gateway.client.list('?state=open')).uploads).toHaveLength(before);
    });

    test('a creation with all bytes whose Complete fails is created, and not told to be at its end', async () => {
      const restore = gateway.probe.before('completeMultipartUpload', () => {
        throw new StoreError('refused', 'no');
      });
      const answer = await client.create({ 'upload-length': '3' }, Buffer.from('abc'));
      restore();
      const path = locationOf(answer);
      expect(answer.headers['upload-offset']).toBe('2');
      expectRefused(await client.patch(path, 2, Buffer.from('c')), 409, 'state_conflict');
      expect(await offsetAt(client, path)).toBe(3);
      expect((await client.send('GET', path)).text).toBe('abc');
    });
  });

  test('an upload begun here is looked at by REST, and finished by ranges', async () => {
    const bytes = bytesOf(9 * MiB, 'many protocols');
    const path = await client.upload(bytes.length);
    expectOffset(await client.patch(path, 0, bytes.subarray(0, 8 * MiB)), 8 * MiB);
    const id = path.slice('/files/'.length);
    expect(await gateway.client.listParts(id)).toMatchObject({
      parts: [{ partNumber: 1, offset: 0, size: 8 * MiB }],
      missing: [{ partNumber: 2, offset: 8 * MiB, size: MiB }],
    });
    const put = await client.wire.send(
      {
        method: 'PUT',
        path: `/uploads/${id}`,
        headers: { 'content-range': `bytes ${8 * MiB}-${bytes.length - 1}/${bytes.length}` },
      },
      bytes.subarray(8 * MiB),
    );
    expect(put.status).toBeLessThan(300);
    expect(await offsetAt(client, path)).toBe(bytes.length);
    expect((await client.send('GET', path)).bytes.equals(bytes)).toBe(true);
  });
});
