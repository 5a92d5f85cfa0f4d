import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { refused } from './rest-client.ts';
import { availableStores, type RestGateway, startRestGateway } from './rest-gateway.ts';

/** The check string of the CRC catalogues. */
const bytes = Buffer.from('123456789');
const other = Buffer.from('987654321');
const base64 = (hex: string) => Buffer.from(hex, 'hex').toString('base64');
const hashOf = (algorithm: string) => createHash(algorithm).update(bytes).digest('base64');
/** What is right, by the algorithm's name in Content-Digest. */
const right: Record<string, string> = {
  md5: hashOf('md5'),
  sha: hashOf('sha1'),
  'sha-256': hashOf('sha256'),
  'sha-512': hashOf('sha512'),
  crc32: base64('cbf43926'),
  crc32c: base64('e3069283'),
  crc64nvme: base64('ae8b14860a799888'),
};
const fields: [header: string, algorithm: string, format: (value: string) => string][] = [
  ...Object.keys(right).map((name): (typeof fields)[number] => [
    'Content-Digest',
    name,
    (value) => `${name}=:${value}:`,
  ]),
  ['Content-MD5', 'md5', String],
  ['x-amz-checksum-crc32', 'crc32', String],
  ['x-amz-checksum-crc32c', 'crc32c', String],
  ['x-amz-checksum-crc64nvme', 'crc64nvme', String],
  ['x-amz-checksum-sha1', 'sha', String],
  ['x-amz-checksum-sha256', 'sha-256', String],
];
const zeros = (value: string) => Buffer.alloc(Buffer.from(value, 'base64').length).toString('base64');

describe.each(await availableStores())('the checksum of a part on %s', (store) => {
  let gateway: RestGateway;

  beforeAll(async () => {
    gateway = await startRestGateway(store);
  });

  afterAll(() => gateway.stop());

  const put = (id: string, body: Buffer, headers: Record<string, string>) =>
    gateway.client.request('PUT', `/uploads/${id}/parts/1`, body, headers);

  describe.each(fields)('%s with %s', (header, algorithm, format) => {
    const value = right[algorithm]!;

    test('that is right is kept with it, and one that is wrong leaves what was stored', async () => {
      const key = `${header} ${algorithm}`;
      const { id } = await gateway.client.create({ key, size: 9 });
      await refused(put(id, bytes, { [header]: format(zeros(value)) }), 422, 'digest_mismatch');
      expect((await gateway.client.listParts(id)).parts).toEqual([]);
      const part = await gateway.client.putPart(id, 1, bytes, { [header]: format(value) });
      expect(part.checksum).toBe(`${algorithm}=:${value}:`);
      const mismatch = await refused(put(id, other, { [header]: format(zeros(value)) }), 422, 'digest_mismatch');
      expect(mismatch.detail).toContain('Nothing was stored');
      expect((await gateway.client.listParts(id)).parts).toEqual([part]);
      await gateway.client.complete(id);
      expect((await gateway.client.read(key)).text).toBe('123456789');
    });

    test('that can be none is refused before the part is sent', async () => {
      const { id } = await gateway.client.create({ key: 'none', size: 9 });
      gateway.probe.forget();
      for (const malformed of ['', 'AAAA', `${value}AAAA`, '*']) {
        const headers = { [header]: format(malformed), expect: '100-continue' };
        const { answer, continued } = gateway.client.openPart(id, 1, 9, headers);
        await refused(answer, 400, 'invalid_request');
        await expect(continued).rejects.toThrow('without 100 Continue');
      }
      expect(gateway.probe.calls()).toEqual([]);
    });

    test('that is known spares the store a second call, and still holds the body to it', async () => {
      const key = `again ${header} ${algorithm}`;
      const { id } = await gateway.client.create({ key, size: 9 });
      const part = await gateway.client.putPart(id, 1, bytes, { [header]: format(value) });
      gateway.probe.forget();
      expect(await gateway.client.putPart(id, 1, bytes, { [header]: format(value) })).toEqual(part);
      await refused(put(id, other, { [header]: format(value) }), 422, 'digest_mismatch');
      expect(gateway.probe.calls()).toEqual([]);
      expect((await gateway.client.listParts(id)).parts).toEqual([part]);
      await gateway.client.complete(id);
      expect((await gateway.client.read(key)).text).toBe('123456789');
    });
  });

  test('is not taken for known where none was stated', async () => {
    const { id } = await gateway.client.create({ key: 'unknown', size: 9 });
    await gateway.client.putPart(id, 1, bytes);
    gateway.probe.forget();
    await gateway.client.putPart(id, 1, bytes, { 'x-amz-checksum-crc32': right.crc32! });
    await gateway.client.putPart(id, 1, bytes);
    expect(gateway.probe.calls('uploadPart')).toHaveLength(2);
  });

  test('of several counts each, and one that is wrong is enough', async () => {
    const { id } = await gateway.client.create({ key: 'several', size: 9 });
    const headers = { 'content-md5': right.md5!, 'x-amz-checksum-crc32': right.crc32! };
    const digest = (sha: string) => ({ ...headers, 'content-digest': `sha-256=:${sha}:, unknown=:AAAA:` });
    await refused(put(id, bytes, digest(zeros(right['sha-256']!))), 422, 'digest_mismatch');
    const { checksum } = await gateway.client.putPart(id, 1, bytes, digest(right['sha-256']!));
    expect(checksum?.split(', ').sort()).toEqual(
      ['crc32', 'md5', 'sha-256'].map((algorithm) => `${algorithm}=:${right[algorithm]}:`),
    );
  });

  test('given twice and differently is refused', async () => {
    const { id } = await gateway.client.create({ key: 'twice', size: 9 });
    const headers = { 'content-md5': right.md5!, 'content-digest': `md5=:${zeros(right.md5!)}:` };
    await refused(put(id, bytes, headers), 400, 'invalid_request');
  });

  test('of no algorithm that is known is refused rather than passed over', async () => {
    const { id } = await gateway.client.create({ key: 'algorithm', size: 9 });
    const { algorithms } = await refused(put(id, bytes, { 'content-digest': 'xxh3=:AAAA:' }), 400, 'invalid_request');
    expect(algorithms).toEqual(expect.arrayContaining(Object.keys(right)));
  });

  test('of an empty part counts, too', async () => {
    const { id } = await gateway.client.create({ key: 'empty', size: 0 });
    const empty = Buffer.alloc(0);
    await refused(put(id, empty, { 'x-amz-checksum-crc32': right.crc32! }), 422, 'digest_mismatch');
    await gateway.client.putPart(id, 1, empty, { 'x-amz-checksum-crc32': 'AAAAAA==' });
  });
});
