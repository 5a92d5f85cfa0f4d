import { crc32 } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bytesOf, refused } from './rest-client.ts';
import { availableStores, type RestGateway, startRestGateway } from './rest-gateway.ts';

const MiB = 1024 ** 2;
const partSize = 5 * MiB;
const wrong = 'crc32=:AAAAAA==:';

function crc32Of(bytes: Buffer): string {
  const value = Buffer.alloc(4);
  value.writeUInt32BE(crc32(bytes));
  return value.toString('base64');
}

describe.each(await availableStores())('the digest of the whole on %s', (store) => {
  let gateway: RestGateway;

  beforeAll(async () => {
    gateway = await startRestGateway(store);
  });

  afterAll(() => gateway.stop());

  async function storeAll(id: string, parts: readonly Buffer[], headers = (_: Buffer) => ({})): Promise<void> {
    for (const [index, bytes] of parts.entries()) await gateway.client.putPart(id, index + 1, bytes, headers(bytes));
  }

  const parts = [bytesOf(partSize, 'first'), bytesOf(partSize, 'second'), bytesOf(3, 'third')];
  const whole = Buffer.concat(parts);
  const size = whole.length;

  test('crc32: declared at create, is combined from the parts, and nothing is read again', async () => {
    const digest = `crc32=:${crc32Of(whole)}:`;
    const { id } = await gateway.client.create({ key: 'right', size, partSize, digest });
    await storeAll(id, parts);
    gateway.probe.forget();
    expect(await gateway.client.complete(id)).toMatchObject({ state: 'completed', digest });
    expect(gateway.probe.calls().map(({ method }) => method)).toEqual(['completeMultipartUpload']);
  });

  test('crc32c: of RFC 3720, appendix B.4', async () => {
    const zeros = Buffer.alloc(32);
    const digest = `crc32c=:${Buffer.from('8a9136aa', 'hex').toString('base64')}:`;
    const { id } = await gateway.client.create({ key: 'crc32c', size: 32, digest });
    await gateway.client.putPart(id, 1, zeros);
    expect(await gateway.client.complete(id)).toMatchObject({ state: 'completed', digest });
  });

  test('a wrong one keeps the object from being made, and the upload stays open', async () => {
    const { id } = await gateway.client.create({ key: 'wrong', size: 3, digest: wrong });
    await gateway.client.putPart(id, 1, bytesOf(3));
    await refused(gateway.client.request('POST', `/uploads/${id}/complete`), 422, 'digest_mismatch');
    expect(await gateway.client.look(id)).toMatchObject({ state: 'open', offset: 3 });
    await refused(gateway.client.read('wrong'), 404, 'object_not_found');
  });

  test('is also stated as Repr-Digest, at create', async () => {
    const [right, sha256] = [`crc32=:${crc32Of(bytesOf(3))}:`, `sha-256=:${Buffer.alloc(32).toString('base64')}:`];
    const { id, digest } = await gateway.client.create({ key: 'header', size: 3 }, { 'Repr-Digest': wrong });
    expect(digest).toBe(wrong);
    await gateway.client.putPart(id, 1, bytesOf(3));
    await refused(gateway.client.request('POST', `/uploads/${id}/complete`), 422, 'digest_mismatch');
    const create = (header: string) =>
      gateway.client.request('POST', '/uploads', { key: 'header', size: 3, digest: right }, { 'Repr-Digest': header });
    expect((await create(right)).status).toBe(201);
    for (const header of [wrong, sha256, `${right}, ${sha256}`, 'nonsense']) {
      await refused(create(header), 400, 'invalid_request');
    }
  });

  test('is also stated as Repr-Digest, at complete', async () => {
    const right = `crc32=:${crc32Of(bytesOf(3))}:`;
    const { id } = await gateway.client.create({ key: 'header-at-complete', size: 3 });
    await gateway.client.putPart(id, 1, bytesOf(3), { 'x-amz-checksum-crc32': crc32Of(bytesOf(3)) });
    const complete = (header: string) =>
      gateway.client.request('POST', `/uploads/${id}/complete`, undefined, { 'Repr-Digest': header });
    await refused(complete(wrong), 422, 'digest_mismatch');
    expect((await complete(right)).status).toBe(200);
  });

  test('given at complete, is checked where every part was sent with one', async () => {
    const { id } = await gateway.client.create({ key: 'at-complete', size, partSize });
    await storeAll(id, parts, (bytes) => ({ 'x-amz-checksum-crc32': crc32Of(bytes) }));
    await refused(gateway.client.request('POST', `/uploads/${id}/complete`, { digest: wrong }), 422, 'digest_mismatch');
    const digest = `crc32=:${crc32Of(whole)}:`;
    expect(await gateway.client.complete(id, { digest })).toMatchObject({ state: 'completed' });
  });

  test('given at complete, is refused where the parts were stored without one', async () => {
    const { id } = await gateway.client.create({ key: 'without', size: 3 });
    await gateway.client.putPart(id, 1, bytesOf(3));
    await refused(gateway.client.request('POST', `/uploads/${id}/complete`, { digest: wrong }), 400, 'invalid_request');
  });

  test('given at complete, does not stand in for the one that was declared at create', async () => {
    const { id } = await gateway.client.create({ key: 'stands-in', size: 3, digest: wrong });
    await gateway.client.putPart(id, 1, bytesOf(3));
    const digest = `crc32=:${crc32Of(bytesOf(3))}:`;
    await refused(gateway.client.request('POST', `/uploads/${id}/complete`, { digest }), 422, 'digest_mismatch');
    await refused(gateway.client.read('stands-in'), 404, 'object_not_found');
  });

  test('a wrong one is refused by a repeated complete, too', async () => {
    const { id } = await gateway.client.create({ key: 'repeated', size: 3, digest: `crc32=:${crc32Of(bytesOf(3))}:` });
    await gateway.client.putPart(id, 1, bytesOf(3));
    await gateway.client.complete(id);
    await refused(gateway.client.request('POST', `/uploads/${id}/complete`, { digest: wrong }), 422, 'digest_mismatch');
  });

  test.each(['sha-256', 'md5', 'crc64nvme'])(
    '%s is refused at create: it could only be had by reading again',
    async (name) => {
      const lengths: Record<string, number> = { 'sha-256': 32, md5: 16, crc64nvme: 8 };
      const digest = `${name}=:${Buffer.alloc(lengths[name]!).toString('base64')}:`;
      const problem = await refused(gateway.client.request('POST', '/uploads', { digest }), 400, 'invalid_request');
      expect(problem).toMatchObject({ field: 'digest', algorithms: ['crc32', 'crc32c'] });
    },
  );

  test.each([
    'nonsense',
    'crc32=AAAAAA==',
    'crc32=:AAAA:',
    'adler=:AAAAAA==:',
    `${wrong}, crc32c=:AAAAAA==:`,
    'crc32=:\u00e9:',
  ])('refuses %j', async (digest) => {
    await refused(gateway.client.request('POST', '/uploads', { digest }), 400, 'invalid_request');
  });
});
