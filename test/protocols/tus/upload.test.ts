import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { countRecords } from '../rest/count-records.ts';
import { bytesOf } from '../rest/rest-client.ts';
import { availableStores, type RestGateway, startRestGateway } from '../rest/rest-gateway.ts';
import { chunkType, expectOffset, expectRefused, locationOf, metadataOf, sha1, TusClient } from './tus-client.ts';

const KiB = 1024;
const MiB = 1024 ** 2;

describe.each(await availableStores())('tus on %s', (store) => {
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

  async function expectStored(path: string, bytes: Buffer): Promise<void> {
    const head = await client.head(path);
    expect({ status: head.status, headers: head.headers }).toMatchObject({
      status: 200,
      headers: {
        'upload-offset': String(bytes.length),
        'upload-length': String(bytes.length),
        'cache-control': 'no-store',
        'tus-resumable': '1.0.0',
      },
    });
    const read = await client.send('GET', path);
    expect(read.status).toBe(200);
    expect(read.bytes.equals(bytes)).toBe(true);
  }

  describe('chunks', () => {
    test.each([8 * MiB, 5 * MiB, 3 * MiB + 1])('of %i bytes become the object', async (chunkBytes) => {
      const bytes = bytesOf(17 * MiB + 5, `chunks ${chunkBytes}`);
      const path = await client.upload(bytes.length);
      for (let at = 0; at < bytes.length; at += chunkBytes) {
        const chunk = bytes.subarray(at, at + chunkBytes);
        const answer = await client.patch(path, at, chunk);
        expectOffset(answer, at + chunk.length);
        const isLast = at + chunk.length === bytes.length;
        expect(answer.headers['upload-expires'] === undefined).toBe(isLast);
      }
      await expectStored(path, bytes);
    });

    test('of 256 KiB cost two round trips to the records each', async () => {
      const counted: string[] = [];
      const metered = await startRestGateway(store, { beside: gateway, wrapRecords: countRecords(counted) });
      const cheap = new TusClient(metered.url);
      try {
        const path = await cheap.upload(8 * MiB);
        await cheap.patch(path, 0, bytesOf(256 * KiB));
        counted.length = 0;
        expectOffset(await cheap.patch(path, 256 * KiB, bytesOf(256 * KiB)), 512 * KiB);
        expect(counted).toEqual(['beginFragment', 'commitFragment']);
      } finally {
        cheap.close();
        await metered.stop();
      }
    });

    test('of a body whose length is not told', async () => {
      const bytes = bytesOf(9 * MiB, 'chunked');
      const path = await client.upload(bytes.length);
      const exchange = client.openPatch(path, 0, {});
      exchange.request.end(bytes);
      expectOffset(await exchange.answer, bytes.length);
      await expectStored(path, bytes);
    });

    test('at another offset change nothing', async () => {
      const path = await client.upload(10);
      expectOffset(await client.patch(path, 0, Buffer.from('abc')), 3);
      for (const offset of [0, 2, 4, 10]) {
        expectRefused(await client.patch(path, offset, Buffer.from('x')), 409, 'state_conflict');
      }
      expect((await client.head(path)).headers['upload-offset']).toBe('3');
      expectOffset(await client.patch(path, 3, Buffer.from('defghij')), 10);
      await expectStored(path, Buffer.from('abcdefghij'));
      expectRefused(await client.patch(path, 3, Buffer.from('defghij')), 409, 'state_conflict');
      expectOffset(await client.patch(path, 10, Buffer.alloc(0)), 10);
    });

    test('beyond the length are refused, and nothing of them is kept', async () => {
      const path = await client.upload(5);
      expectRefused(await client.patch(path, 0, Buffer.from('abcdef')), 413, 'state_conflict');
      expect((await client.head(path)).headers['upload-offset']).toBe('0');
    });

    test.each([5, 9 * MiB])('beyond the length (%d) complete nothing, where the body has no length', async (size) => {
      const path = await client.upload(size);
      const exchange = client.openPatch(path, 0, {});
      exchange.request.end(bytesOf(size + 6, 'too long'));
      expectRefused(await exchange.answer, 413, 'state_conflict');
      const { headers } = await client.head(path);
      expect(Number(headers['upload-offset'])).toBeLessThan(size);
    });

    test.each([
      ['no offset', { 'upload-offset': undefined }, 400, 'invalid_request'],
      ['a signed offset', { 'upload-offset': '-1' }, 400, 'invalid_request'],
      ['an offset above 2^53', { 'upload-offset': '9007199254740993' }, 400, 'invalid_request'],
      ['another media type', { 'content-type': 'application/octet-stream' }, 415, 'unsupported'],
      ['another length than was told', { 'upload-length': '6' }, 400, 'invalid_request'],
    ])('with %s are refused', async (_, headers, status, code) => {
      const path = await client.upload(5);
      const all = { ...chunkType, 'upload-offset': '0', ...headers } as Record<string, string>;
      const given = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
      expectRefused(await client.send('PATCH', path, given, Buffer.from('abc')), status, code);
      expect((await client.head(path)).headers['upload-offset']).toBe('0');
    });
  });

  describe('the version', () => {
    test.each(['0.2.2', undefined])('%s is refused, with the one that is known', async (version) => {
      for (const [method, path] of [
        ['POST', '/files'],
        ['HEAD', '/files/0123'],
        ['PATCH', '/files/0123'],
        ['DELETE', '/files/0123'],
      ] as const) {
        const headers: Record<string, string> = version === undefined ? {} : { 'tus-resumable': version };
        const answer = await client.wire.send({ method, path, headers: { 'upload-length': '5', ...headers } });
        expect(answer).toMatchObject({ status: 412, headers: { 'tus-version': '1.0.0', 'tus-resumable': '1.0.0' } });
      }
    });

    test('is told, with all that there is, to whoever asks by OPTIONS, whatever version that is', async () => {
      for (const path of ['/files', '/files/', '/files/0123']) {
        const answer = await client.wire.send({ method: 'OPTIONS', path, headers: { 'tus-resumable': '9' } });
        expect(answer).toMatchObject({
          status: 204,
          headers: {
            'tus-version': '1.0.0',
            'tus-extension':
              'creation,creation-with-upload,creation-defer-length,expiration,checksum,checksum-trailer,termination,concatenation,concatenation-unfinished',
            'tus-max-size': String(5 * 1024 ** 4),
            'tus-checksum-algorithm': 'sha1,md5,crc32,crc32c,sha256',
          },
        });
      }
    });
  });

  describe('creation', () => {
    test('tells when the upload expires, and gives its metadata back as it was sent', async () => {
      const sent = `${metadataOf({ filename: 'ein Bild.png', filetype: 'image/png' })},is_confidential, empty ,x /w==`;
      const answer = await client.create({ 'upload-length': '3', 'upload-metadata': sent });
      expect(Date.parse(String(answer.headers['upload-expires']))).toBeGreaterThan(Date.now());
      const path = locationOf(answer);
      const head = await client.head(path);
      expect(head.headers).toMatchObject({ 'upload-metadata': sent, 'upload-offset': '0', 'upload-length': '3' });
      await client.patch(path, 0, Buffer.from('png'));
      expect((await client.head(path)).headers['upload-metadata']).toBe(sent);
      const { key, contentType, metadata } = await gateway.client.look(path.slice('/files/'.length));
      expect({ key, contentType, metadata }).toEqual({
        key: expect.stringMatching(/^\d{4}-\d\d-\d\d\/[0-9a-f]+\/ein_Bild\.png$/),
        contentType: 'image/png',
        metadata: { filename: 'ein Bild.png', filetype: 'image/png', is_confidential: '', empty: '' },
      });
    });

    test.each([
      ['neither length nor its deferral', {}, 400],
      ['both', { 'upload-length': '5', 'upload-defer-length': '1' }, 400],
      ['a deferral that is not 1', { 'upload-defer-length': '2' }, 400],
      ['a negative length', { 'upload-length': '-5' }, 400],
      ['a length that is no number', { 'upload-length': '5x' }, 400],
      ['more than the store takes', { 'upload-length': String(6 * 1024 ** 4) }, 413],
      ['metadata whose key is there twice', { 'upload-length': '5', 'upload-metadata': 'a YQ==,a Yg==' }, 400],
      ['metadata that is not base64', { 'upload-length': '5', 'upload-metadata': 'a ?' }, 400],
      ['metadata without a key', { 'upload-length': '5', 'upload-metadata': 'a YQ==,' }, 400],
    ])('with %s is refused', async (_, headers, status) => {
      const answer = await client.create(headers as Record<string, string>);
      expectRefused(answer, status, status === 413 ? 'limit_exceeded' : 'invalid_request');
    });

    test('of an empty upload completes it', async () => {
      await expectStored(await client.upload(0), Buffer.alloc(0));
    });

    test('with all of its bytes', async () => {
      const bytes = bytesOf(6 * MiB, 'with upload');
      const answer = await client.create({ 'upload-length': String(bytes.length) }, bytes);
      expect(answer.headers['upload-offset']).toBe(String(bytes.length));
      await expectStored(locationOf(answer), bytes);
    });

    test('with its first bytes', async () => {
      const bytes = bytesOf(MiB, 'first bytes');
      const answer = await client.create({ 'upload-length': String(bytes.length) }, bytes.subarray(0, 1000));
      expect(answer.headers['upload-offset']).toBe('1000');
      const path = locationOf(answer);
      expectOffset(await client.patch(path, 1000, bytes.subarray(1000)), bytes.length);
      await expectStored(path, bytes);
    });

    test('with a body of another type takes none of it', async () => {
      const answer = await client.create({ 'upload-length': '3', 'content-type': 'text/plain' }, Buffer.from('abc'));
      expect(answer.headers['upload-offset']).toBeUndefined();
      expect((await client.head(locationOf(answer))).headers['upload-offset']).toBe('0');
    });

    test('with too many bytes, or garbled ones, makes no upload', async () => {
      const before = (await gateway.client.list('?state=open')).uploads.length;
      expectRefused(await client.create({ 'upload-length': '3' }, Buffer.from('abcd')), 413, 'state_conflict');
      const garbled = { 'upload-length': '3', 'upload-checksum': sha1(Buffer.from('abd')) };
      expectRefused(await client.create(garbled, Buffer.from('abc')), 460, 'digest_mismatch');
      expect((await gateway.client.list('?state=open')).uploads).toHaveLength(before);
    });

    test('with a length that is told later, by a PATCH with the last bytes or after them', async () => {
      for (const last of [Buffer.from('def'), Buffer.alloc(0)]) {
        const path = await client.upload(undefined);
        expectOffset(await client.patch(path, 0, Buffer.from('abc')), 3);
        const head = await client.head(path);
        expect(head.headers).toMatchObject({ 'upload-defer-length': '1', 'upload-offset': '3' });
        expect(head.headers['upload-length']).toBeUndefined();
        const size = 3 + last.length;
        expectOffset(await client.patch(path, 3, last, { 'upload-length': String(size) }), size);
        await expectStored(path, Buffer.concat([Buffer.from('abc'), last]));
      }
    });

    test('where the length that is told later is below what is stored, it is refused', async () => {
      const path = await client.upload(undefined);
      await client.patch(path, 0, Buffer.from('abc'));
      const answer = await client.patch(path, 3, Buffer.alloc(0), { 'upload-length': '2' });
      expectRefused(answer, 413, 'state_conflict');
    });
  });

  describe('a checksum', () => {
    const bytes = bytesOf(9 * MiB, 'checksum');
    const of = (algorithm: string) => createHash(algorithm).update(bytes).digest('base64');

    test.each([
      ['sha1', () => of('sha1')],
      ['md5', () => of('md5')],
      ['sha256', () => of('sha256')],
    ])('by %s is held against the chunk', async (name, value) => {
      const path = await client.upload(bytes.length);
      const garbled = Buffer.from(bytes);
      garbled[bytes.length - 1]! ^= 1;
      const checksum = { 'upload-checksum': `${name} ${value()}` };
      expectRefused(await client.patch(path, 0, garbled, checksum), 460, 'digest_mismatch');
      expect((await client.head(path)).headers['upload-offset']).toBe('0');
      expectOffset(await client.patch(path, 0, bytes, checksum), bytes.length);
      await expectStored(path, bytes);
    });

    test.each([
      ['crc32', 'NSRBwg=='],
      ['crc32c', 'Nks/tw=='],
    ])('by %s', async (name, value) => {
      const path = await client.upload(3);
      const wrong = await client.patch(path, 0, Buffer.from('abd'), { 'upload-checksum': `${name} ${value}` });
      expectRefused(wrong, 460, 'digest_mismatch');
      expectOffset(await client.patch(path, 0, Buffer.from('abc'), { 'upload-checksum': `${name} ${value}` }), 3);
    });

    test.each([
      'sha512 AAAA',
      'sha1',
      'sha1 AAAA',
      'sha1 qZk+NkcGgWq6PiVxeFDCbJzQ2J0= x',
      'constructor AAAA',
      'crc32 ????????',
    ])('that is none (%s) is refused, and the chunk with it', async (checksum) => {
      const path = await client.upload(3);
      const answer = await client.patch(path, 0, Buffer.from('abc'), { 'upload-checksum': checksum });
      expectRefused(answer, 400, 'invalid_request');
      expect((await client.head(path)).headers['upload-offset']).toBe('0');
    });

    test('may come behind the body', async () => {
      const path = await client.upload(3);
      const patch = async (trailer: string | undefined) => {
        const exchange = client.openPatch(path, 0, { trailer: 'Upload-Checksum' });
        exchange.request.write('abc');
        if (trailer !== undefined) exchange.request.addTrailers({ 'Upload-Checksum': trailer });
        exchange.request.end();
        return exchange.answer;
      };
      expectRefused(await patch(sha1(Buffer.from('abd'))), 460, 'digest_mismatch');
      expectRefused(await patch('sha512 AAAA'), 400, 'invalid_request');
      expectRefused(await patch(undefined), 400, 'invalid_request');
      expect((await client.head(path)).headers['upload-offset']).toBe('0');
      expectOffset(await patch(sha1(Buffer.from('abc'))), 3);
    });
  });

  describe('termination', () => {
    test('of an unfinished upload frees it', async () => {
      const path = await client.upload(10);
      await client.patch(path, 0, Buffer.from('abc'));
      expect((await client.send('DELETE', path)).status).toBe(204);
      for (const method of ['HEAD', 'GET', 'DELETE']) expect((await client.send(method, path)).status).toBe(410);
      expectRefused(await client.patch(path, 3, Buffer.from('d')), 410, 'upload_gone');
      expect((await client.head(path)).headers['upload-offset']).toBeUndefined();
    });

    test('of a finished one deletes its object', async () => {
      const path = locationOf(await client.create({ 'upload-length': '3' }, Buffer.from('abc')));
      const { key } = await gateway.client.look(path.slice('/files/'.length));
      expect((await client.send('DELETE', path)).status).toBe(204);
      for (const method of ['HEAD', 'GET', 'DELETE']) expect((await client.send(method, path)).status).toBe(410);
      expect(await gateway.client.look(path.slice('/files/'.length))).toMatchObject({ state: 'deleted' });
      expect((await gateway.client.request('GET', `/objects/${key}`)).status).toBe(404);
    });

    test('leaves an object that another upload has put in its place', async () => {
      const path = locationOf(await client.create({ 'upload-length': '3' }, Buffer.from('abc')));
      const { key } = await gateway.client.look(path.slice('/files/'.length));
      const other = await gateway.client.create({ key, size: 5 });
      await gateway.client.putPart(other.id, 1, Buffer.from('other'));
      await gateway.client.complete(other.id);
      expect((await client.send('GET', path)).status).toBe(404);
      expect((await client.send('DELETE', path)).status).toBe(204);
      expect((await gateway.client.read(key)).bytes.toString()).toBe('other');
    });

    test('leaves it also where it comes in the last moment, on a store that looks', async ({ skip }) => {
      if (store === 'minio') skip('MinIO deletes whatever is there');
      const path = locationOf(await client.create({ 'upload-length': '3' }, Buffer.from('abc')));
      const { bucket, key } = await gateway.client.look(path.slice('/files/'.length));
      const other = { bucket, key, body: Buffer.from('other'), sizeBytes: 5 };
      const stop = gateway.probe.before('deleteObject', async () => void (await gateway.probe.store.putObject(other)));
      try {
        expect((await client.send('DELETE', path)).status).toBe(204);
      } finally {
        stop();
      }
      expect((await gateway.client.read(key)).bytes.toString()).toBe('other');
    });

    test('is not for what another protocol has finished', async () => {
      const { id } = await gateway.client.create({ key: 'by-rest', size: 1 });
      await gateway.client.putPart(id, 1, Buffer.from('r'));
      await gateway.client.complete(id);
      expectRefused(await client.send('DELETE', `/files/${id}`), 403, 'forbidden');
    });
  });

  describe('the bytes', () => {
    test('are served once the upload is completed, and not before', async () => {
      const path = await client.upload(3);
      await client.patch(path, 0, Buffer.from('ab'));
      expectRefused(await client.send('GET', path), 404, 'object_not_found');
      await client.patch(path, 2, Buffer.from('c'));
      expect((await client.send('GET', path, { range: 'bytes=1-' })).bytes.toString()).toBe('bc');
      // A browser that follows a link says no version.
      expect((await client.wire.send({ method: 'GET', path })).text).toBe('abc');
    });

    test.each([
      ['image/png', 'x.png', 'inline; filename=x.png'],
      ['image/svg+xml', 'x.svg', 'attachment; filename=x.svg'],
      ['text/html', 'x.html', 'attachment; filename=x.html'],
      ['nonsense', 'ünï"c.bin', `attachment; filename="?n?\\"c.bin"; filename*=UTF-8''%C3%BCn%C3%AF%22c.bin`],
    ])('of %s can run no script', async (filetype, filename, disposition) => {
      const headers = { 'upload-length': '1', 'upload-metadata': metadataOf({ filetype, filename }) };
      const { headers: got } = await client.send('GET', locationOf(await client.create(headers, Buffer.from('x'))));
      expect(got['content-disposition']?.replaceAll('ü', '?').replaceAll('ï', '?')).toBe(disposition);
      expect(got).toMatchObject({
        'x-content-type-options': 'nosniff',
        'content-security-policy': "sandbox; default-src 'none'",
      });
    });
  });

  test('the method may be told in a header', async () => {
    const path = await client.upload(3);
    const head = await client.send('POST', path, { 'x-http-method-override': 'HEAD' });
    expect({ status: head.status, offset: head.headers['upload-offset'] }).toEqual({ status: 200, offset: '0' });
    const patched = await client.send(
      'POST',
      path,
      { ...chunkType, 'upload-offset': '0', 'x-http-method-override': 'PATCH' },
      Buffer.from('abc'),
    );
    expectOffset(patched, 3);
    expect((await client.send('POST', path, { 'x-http-method-override': 'DELETE' })).status).toBe(204);
    expect((await client.head(path)).status).toBe(410);
  });

  test('what is not of the protocol is not allowed, and what nobody knows is not found', async () => {
    const answer = await client.send('PUT', '/files');
    expect(answer).toMatchObject({ status: 405, headers: { allow: 'OPTIONS, POST' } });
    expect((await client.send('POST', '/files/0123')).status).toBe(405);
    for (const method of ['HEAD', 'PATCH', 'DELETE', 'GET']) {
      expect((await client.send(method, '/files/0123', { ...chunkType, 'upload-offset': '0' })).status).toBe(404);
    }
  });
});
