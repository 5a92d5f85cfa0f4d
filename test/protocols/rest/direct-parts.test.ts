import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bytesOf, refused } from './rest-client.ts';
import { availableStores, type RestGateway, startRestGateway } from './rest-gateway.ts';

const MiB = 1024 ** 2;
const partSize = 5 * MiB;
const hasS3 = (await availableStores()).includes('minio');

describe.skipIf(!hasS3)('parts that go straight to the store', () => {
  let gateway: RestGateway;

  beforeAll(async () => {
    gateway = await startRestGateway('minio');
  });

  afterAll(() => gateway.stop());

  /** Sends a part by a URL that the gateway signed; returns the store's answer. */
  async function sendDirectly(id: string, partNumber: number, bytes: Buffer): Promise<Response> {
    const { parts } = await gateway.client.sign(id, { partNumbers: [partNumber] });
    return fetch(parts[0]!.url, { method: 'PUT', body: new Uint8Array(bytes) });
  }

  async function etagOf(answer: Promise<Response>): Promise<string> {
    const { status, headers } = await answer;
    expect(status).toBe(200);
    return headers.get('etag')!;
  }

  test('are signed, sent, reported, and become the object', async () => {
    const { id } = await gateway.client.create({ key: 'direct', size: partSize + 3, partSize });
    const bytes = [bytesOf(partSize, 'first'), bytesOf(3, 'second')];
    const { parts } = await gateway.client.sign(id, { partNumbers: { from: 1, to: 2 } });
    expect(parts).toMatchObject([
      { partNumber: 1, offset: 0, size: partSize, headers: { 'Content-Length': String(partSize) } },
      { partNumber: 2, offset: partSize, size: 3, headers: { 'Content-Length': '3' } },
    ]);
    const etags = await Promise.all(
      parts.map(({ partNumber }) => etagOf(sendDirectly(id, partNumber, bytes[partNumber - 1]!))),
    );
    expect(await gateway.client.listParts(id)).toMatchObject({ parts: [], missing: [{}, {}] });
    const reported = etags.map((etag, index) => ({ partNumber: index + 1, etag, size: bytes[index]!.length }));
    expect(await gateway.client.report(id, reported)).toMatchObject({
      offset: partSize + 3,
      receivedBytes: partSize + 3,
    });
    await gateway.client.complete(id);
    expect((await gateway.client.read('direct')).bytes.equals(Buffer.concat(bytes))).toBe(true);
  });

  test('a reported part that is shorter than its slot is the last, and fixes the size', async () => {
    const { id } = await gateway.client.create({ key: 'short', partSize });
    await gateway.client.putPart(id, 1, bytesOf(partSize));
    const etag = await etagOf(sendDirectly(id, 2, bytesOf(3)));
    expect(await gateway.client.report(id, [{ partNumber: 2, etag }])).toMatchObject({ size: partSize + 3 });
    expect(await gateway.client.complete(id)).toMatchObject({ size: partSize + 3 });
  });

  test.each([3, 4])(
    'refuses a reported part that would end the upload before part %i, which is stored',
    async (later) => {
      const { id } = await gateway.client.create({ key: `before-${later}`, partSize });
      for (const partNumber of [1, later]) await gateway.client.putPart(id, partNumber, bytesOf(partSize));
      const etag = await etagOf(sendDirectly(id, 2, bytesOf(3)));
      const report = gateway.client.request('POST', `/uploads/${id}/parts`, { parts: [{ partNumber: 2, etag }] });
      await refused(report, 409, 'state_conflict');
      expect(await gateway.client.look(id)).not.toHaveProperty('size');
      await gateway.client.putPart(id, 2, bytesOf(partSize));
      if (later === 4) await gateway.client.putPart(id, 3, bytesOf(partSize));
      expect(await gateway.client.complete(id)).toMatchObject({ size: later * partSize });
    },
  );

  test('refuses reported parts of a free layout beyond its declared size', async () => {
    const { id } = await gateway.client.create({ key: 'beyond', layout: 'free', size: 3 });
    const etag = await etagOf(sendDirectly(id, 1, bytesOf(5)));
    const report = gateway.client.request('POST', `/uploads/${id}/parts`, { parts: [{ partNumber: 1, etag }] });
    await refused(report, 422, 'part_size_mismatch');
  });

  test('refuses a reported checksum that can be none', async () => {
    const { id } = await gateway.client.create({ key: 'checksum', size: 3 });
    const etag = await etagOf(sendDirectly(id, 1, bytesOf(3)));
    const parts = [{ partNumber: 1, etag, checksum: 'nonsense' }];
    await refused(gateway.client.request('POST', `/uploads/${id}/parts`, { parts }), 400, 'invalid_request');
  });

  test('are pinned by what the upload says, or by an MD5', async () => {
    const { id, signedChecksum } = await gateway.client.create({ key: 'pinned', size: 3 });
    expect(signedChecksum).toBe('crc32');
    const wanted = (checksum: string) => ({ partNumbers: [1], checksums: { 1: checksum } });
    expect(await gateway.client.sign(id, wanted('crc32=:AAAAAA==:'))).toMatchObject({
      parts: [{ headers: { 'x-amz-checksum-crc32': 'AAAAAA==' } }],
    });
    expect(await gateway.client.sign(id, wanted('md5=:CY9rzUYh03PK3k6DJie09g==:'))).toMatchObject({
      parts: [{ headers: { 'Content-MD5': 'CY9rzUYh03PK3k6DJie09g==' } }],
    });
    const other = gateway.client.request('POST', `/uploads/${id}/parts/sign`, wanted('crc32c=:AAAAAA==:'));
    await refused(other, 400, 'invalid_request');
  });

  test('the store refuses a body of another length than was signed', async () => {
    const { id } = await gateway.client.create({ key: 'length', size: 3 });
    expect((await sendDirectly(id, 1, bytesOf(4))).status).toBe(403);
  });

  test.each([
    ['another ETag', { etag: '"00000000000000000000000000000000"' }],
    ['another size', { size: 4 }],
  ])('a part reported with %s is missing', async (_, change) => {
    const { id } = await gateway.client.create({ key: 'differs', size: 3 });
    const etag = await etagOf(sendDirectly(id, 1, bytesOf(3)));
    const parts = [{ partNumber: 1, etag, ...change }];
    const problem = await refused(gateway.client.request('POST', `/uploads/${id}/parts`, { parts }), 409, 'incomplete');
    expect(problem.missing).toEqual([{ partNumber: 1, offset: 0, size: 3 }]);
    expect((await gateway.client.listParts(id)).parts).toEqual([]);
  });

  test('of several reported, those that the store shows are on record, and the others missing', async () => {
    const { id } = await gateway.client.create({ key: 'some', size: partSize + 3, partSize });
    const etag = await etagOf(sendDirectly(id, 2, bytesOf(3)));
    gateway.probe.forget();
    const parts = [1, 2].map((partNumber) => ({ partNumber, etag: etag.replaceAll('"', '') }));
    const problem = await refused(gateway.client.request('POST', `/uploads/${id}/parts`, { parts }), 409, 'incomplete');
    expect(problem.missing).toEqual([{ partNumber: 1, offset: 0, size: partSize }]);
    expect(gateway.probe.calls().map(({ method }) => method)).toEqual(['listParts']);
    expect(await gateway.client.listParts(id)).toMatchObject({ parts: [{ partNumber: 2, etag }] });
  });
});
