import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { crc32 } from 'node:zlib';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { StoreError } from '../../../src/core/object-store.ts';
import { bytesOf } from '../rest/rest-client.ts';
import { allStores, type RestGateway, startRestGateway } from '../rest/rest-gateway.ts';
import { type Answer, type Exchange, Wire } from '../rest/wire.ts';

const MiB = 1024 ** 2;
const registry = 'https://iana.org/assignments/http-problem-types#';
type Headers = Readonly<Record<string, string>>;

describe.each(await allStores())('resumable uploads for HTTP on %s', (store) => {
  let gateway: RestGateway;
  let other: RestGateway;
  let wire: Wire;
  let db: pg.Client;

  beforeAll(async () => {
    gateway = await startRestGateway(store);
    db = new pg.Client({ connectionString: gateway.databaseUrl });
    await db.connect();
    other = await startRestGateway(store, { beside: gateway });
    wire = new Wire(gateway.url);
  });

  afterAll(async () => {
    wire?.close();
    await db?.end();
    await other?.stop();
    await gateway?.stop();
  });

  const send = (method: string, path: string, headers: Headers = {}, body?: Buffer) =>
    wire.send(
      { method, path, headers: { ...(body === undefined ? { 'content-length': '0' } : {}), ...headers } },
      body,
    );
  const create = (key: string, complete: '?0' | '?1', body?: Buffer, headers: Headers = {}) =>
    send('POST', `/objects/${key}`, { 'upload-complete': complete, ...headers }, body);
  const patch = (path: string, offset: number, complete: string, body?: Buffer, headers: Headers = {}) =>
    send(
      'PATCH',
      path,
      {
        'content-type': 'application/partial-upload',
        'upload-offset': String(offset),
        'upload-complete': complete,
        ...headers,
      },
      body,
    );
  const head = (path: string, at = wire) => at.send({ method: 'HEAD', path });

  function resourceOf({ status, headers }: Answer): string {
    expect({ status, complete: headers['upload-complete'] }).toEqual({ status: 201, complete: '?0' });
    expect(headers['upload-limit']).toMatch(/^max-size=\d+, min-size=0, max-age=\d+$/);
    return new URL(String(headers.location)).pathname;
  }

  async function expectObject(key: string, bytes: Buffer): Promise<void> {
    expect((await gateway.client.read(key)).bytes.equals(bytes)).toBe(true);
  }

  const expectState = async (path: string, offset: number, complete: '?0' | '?1', length?: number) =>
    expect(await head(path)).toMatchObject({
      status: 204,
      headers: {
        'upload-offset': String(offset),
        'upload-complete': complete,
        'cache-control': 'no-store',
        'upload-limit': expect.stringContaining('max-age='),
        ...(length === undefined ? {} : { 'upload-length': String(length) }),
      },
    });

  function expectProblem(answer: Answer, status: number, problem: Record<string, unknown>): void {
    expect(answer.headers['content-type']).toBe('application/problem+json');
    expect({ status: answer.status, body: JSON.parse(answer.text) }).toMatchObject({ status, body: problem });
  }

  describe('creation', () => {
    test('with a content type that no store takes is refused', async () => {
      expectProblem(await create('type', '?1', Buffer.from('abc'), { 'content-type': 'text/é' }), 400, {
        code: 'invalid_request',
        field: 'contentType',
      });
    });

    test.each(['POST', 'PUT', 'PATCH'])('by %s with all of the content is the object', async (method) => {
      const bytes = bytesOf(9 * MiB, `whole ${method}`);
      const headers = { 'upload-complete': '?1', 'content-type': 'video/mp4' };
      const answer = await send(method, `/objects/whole-${method}`, headers, bytes);
      expect(answer).toMatchObject({ status: 200, headers: { 'upload-complete': '?1' } });
      expect(JSON.parse(answer.text)).toMatchObject({ key: `whole-${method}`, size: bytes.length, state: 'completed' });
      await expectObject(`whole-${method}`, bytes);
      await expectState(new URL(String(answer.headers.location)).pathname, bytes.length, '?1', bytes.length);
    });

    test('without content tells where to go on, and what follows completes it', async () => {
      const bytes = bytesOf(9 * MiB, 'careful');
      const path = resourceOf(await create('careful', '?0', undefined, { 'upload-length': String(bytes.length) }));
      await expectState(path, 0, '?0', bytes.length);
      const answer = await patch(path, 0, '?1', bytes);
      expect(answer).toMatchObject({ status: 200, headers: { 'upload-complete': '?1' } });
      await expectObject('careful', bytes);
    });

    test('with some of it; pieces of any size follow, the last of which may be empty', async () => {
      const bytes = bytesOf(100, 'pieces');
      const path = resourceOf(await create('pieces', '?0', bytes.subarray(0, 10)));
      const answer = await patch(path, 10, '?0', bytes.subarray(10, 42));
      expect(answer).toMatchObject({ status: 204, headers: { 'upload-complete': '?0', 'upload-offset': '42' } });
      expect((await head(path)).headers['upload-length']).toBeUndefined();
      expect((await patch(path, 42, '?0', bytes.subarray(42))).status).toBe(204);
      await expectState(path, 100, '?0');
      expect((await patch(path, 100, '?1')).status).toBe(200);
      await expectObject('pieces', bytes);
    });

    test('of an empty representation', async () => {
      expect((await create('empty', '?1')).status).toBe(200);
      await expectObject('empty', Buffer.alloc(0));
    });

    test('where all bytes are there it is not complete before its client says so', async () => {
      const path = resourceOf(await create('unsaid', '?0', Buffer.from('abc'), { 'upload-length': '3' }));
      await expectState(path, 3, '?0', 3);
      expect((await patch(path, 3, '?1')).status).toBe(200);
      await expectState(path, 3, '?1', 3);
    });

    test('keeps media type, filename and precondition', async () => {
      const headers = {
        'content-type': 'image/png',
        'content-disposition': `inline; filename="x.png"; filename*=UTF-8''%C3%A4.png`,
      };
      const { id } = JSON.parse((await create('meta', '?1', Buffer.from('png'), headers)).text);
      expect(await gateway.client.look(id)).toMatchObject({
        contentType: 'image/png',
        metadata: { filename: 'ä.png' },
      });
      const again = await create('meta', '?1', Buffer.from('png'), { 'if-none-match': '*' });
      expectProblem(again, 412, { code: 'precondition_failed' });
    });

    test.each([
      ['an Upload-Length that its content contradicts', '?1', { 'upload-length': '4' }],
      ['more content than Upload-Length', '?0', { 'upload-length': '2' }],
    ] as const)('with %s is refused', async (_, complete, headers) => {
      const answer = await create('contradiction', complete, Buffer.from('abc'), headers);
      expectProblem(answer, 400, { type: `${registry}inconsistent-upload-length` });
    });

    test('of more than the gateway takes is refused, with the limit', async () => {
      const answer = await create('much', '?0', undefined, { 'upload-length': String(6 * 1024 ** 4) });
      expectProblem(answer, 413, { code: 'limit_exceeded' });
      expect(answer.headers['upload-limit']).toBe(`max-size=${5 * 1024 ** 4}, min-size=0`);
    });

    test('that breaks off leaves nothing where nobody was told where to go on', async () => {
      const exchange = wire.open({
        method: 'POST',
        path: '/objects/untold',
        headers: { 'upload-complete': '?1', 'content-length': String(2 * MiB) },
      });
      exchange.answer.catch(() => undefined);
      gateway.probe.forget();
      await exchange.write(bytesOf(MiB));
      await gateway.probe.nth('uploadPart', 1);
      exchange.request.destroy();
      await expect
        .poll(async () => (await gateway.client.list('?prefix=untold')).uploads.map(({ state }) => state))
        .toEqual(['aborted']);
    });

    test('what is malformed counts as not there', async () => {
      // Without Upload-Complete it is a whole object of the plain kind.
      const plain = await send('PUT', '/objects/malformed', { 'upload-complete': '1' }, Buffer.from('abc'));
      expect({ status: plain.status, complete: plain.headers['upload-complete'] }).toEqual({
        status: 200,
        complete: undefined,
      });
      const path = resourceOf(await create('malformed', '?0', undefined, { 'upload-length': '5.0' }));
      expect((await head(path)).headers['upload-length']).toBeUndefined();
    });
  });

  describe('append', () => {
    test('at another offset changes nothing, and is told the right one', async () => {
      const path = resourceOf(await create('offset', '?0', Buffer.from('abc')));
      for (const offset of [0, 2, 4]) {
        const answer = await patch(path, offset, '?0', Buffer.from('x'));
        expectProblem(answer, 409, {
          type: `${registry}mismatching-upload-offset`,
          'expected-offset': 3,
          'provided-offset': offset,
        });
        expect(answer.headers).toMatchObject({ 'upload-offset': '3', 'upload-complete': '?0' });
      }
      await expectState(path, 3, '?0');
    });

    test.each([
      ['without Upload-Complete', { 'upload-complete': 'yes' }, 400],
      ['without Upload-Offset', { 'upload-offset': '-1' }, 400],
      ['of another media type', { 'content-type': 'application/octet-stream' }, 415],
      ['of another length', { 'upload-length': '9' }, 400],
    ])('%s is refused', async (_, headers, status) => {
      const path = resourceOf(await create('refused', '?0', Buffer.from('abc'), { 'upload-length': '6' }));
      expect((await patch(path, 3, '?0', Buffer.from('d'), headers)).status).toBe(status);
      await expectState(path, 3, '?0', 6);
    });

    test('that is said to be the last, and is too short, is refused', async () => {
      const path = resourceOf(await create('short', '?0', Buffer.from('abc'), { 'upload-length': '6' }));
      expectProblem(await patch(path, 3, '?1', Buffer.from('d')), 400, {
        type: `${registry}inconsistent-upload-length`,
      });
      await expectState(path, 3, '?0', 6);
    });

    test('that is said to be the last, and turns out too short, is refused, and leaves what came', async () => {
      const path = resourceOf(await create('turns-out', '?0', Buffer.from('abc'), { 'upload-length': '6' }));
      const exchange = open(path, 3, '?1', {});
      exchange.request.end('d');
      expectProblem(await exchange.answer, 400, { type: `${registry}inconsistent-upload-length` });
      await expectState(path, 4, '?0', 6);
      expect(await patch(path, 4, '?1', Buffer.from('ef'))).toMatchObject({ status: 200 });
      await expectObject('turns-out', Buffer.from('abcdef'));
    });

    test.each(['with a length', 'chunked'])('beyond the length (%s) ends the upload', async (framing) => {
      const path = resourceOf(await create('beyond', '?0', Buffer.from('abc'), { 'upload-length': '5' }));
      const exchange = open(path, 3, '?0', framing === 'chunked' ? {} : { 'content-length': '3' });
      exchange.request.end('def');
      expectProblem(await exchange.answer, 400, { type: `${registry}inconsistent-upload-length` });
      expect((await head(path)).status).toBe(404);
      expect((await patch(path, 3, '?0', Buffer.from('de'))).status).toBe(404);
    });

    test.each([
      ['without content', undefined],
      ['with content', Buffer.alloc(1000)],
    ])('%s that tells a length below what is stored changes nothing', async (_, body) => {
      const path = resourceOf(await create('told-too-short', '?0', Buffer.from('abcde')));
      const answer = await patch(path, 5, '?0', body, { 'upload-length': '4' });
      expectProblem(answer, 400, { type: `${registry}inconsistent-upload-length` });
      await expectState(path, 5, '?0');
      expect((await patch(path, 5, '?1')).status).toBe(200);
      await expectObject('told-too-short', Buffer.from('abcde'));
    });

    test.each([
      ['known', { 'content-length': '6' }],
      ['unknown', { 'transfer-encoding': 'chunked' }],
    ])('of %s length beyond that of the whole ends the upload', async (_, framing) => {
      const path = resourceOf(await create('over-long', '?0', Buffer.from('abcde'), { 'upload-length': '10' }));
      const exchange = open(path, 5, '?0', framing);
      exchange.request.end('fghijk');
      expectProblem(await exchange.answer, 400, { type: `${registry}inconsistent-upload-length` });
      expect((await head(path)).status).toBe(404);
    });

    test('to one whose last bytes were there before it leaves it be', async () => {
      const path = resourceOf(await create('whole', '?0', Buffer.from('abcde'), { 'upload-length': '5' }));
      expectProblem(await patch(path, 5, '?0', Buffer.from('f')), 400, {
        type: `${registry}inconsistent-upload-length`,
      });
      expect((await patch(path, 5, '?1')).status).toBe(200);
      await expectObject('whole', Buffer.from('abcde'));
    });

    test('that another one overtakes with a length does not end the upload', async () => {
      const path = resourceOf(await create('overtaken', '?0', Buffer.from('abcde')));
      const restore = gateway.probe.before('putObject', async () => {
        await db.query('update uploads set size = 5 where id = $1', [path.split('/').at(-1)]);
      });
      const answer = await patch(path, 5, '?0', Buffer.from('fghij')).finally(restore);
      expectProblem(answer, 400, { type: `${registry}inconsistent-upload-length` });
      await expectState(path, 5, '?0', 5);
    });

    test('to a completed upload is refused', async () => {
      const path = resourceOf(await create('done', '?0', Buffer.from('abc')));
      await patch(path, 3, '?1');
      expectProblem(await patch(path, 3, '?1'), 400, { type: `${registry}completed-upload` });
      expectProblem(await patch(path, 3, '?0', Buffer.from('d')), 400, {
        type: `${registry}inconsistent-upload-length`,
      });
      expectProblem(await send('DELETE', path), 400, { type: `${registry}completed-upload` });
      await expectObject('done', Buffer.from('abc'));
    });

    test('of a body whose length is not told, which completes', async () => {
      const bytes = bytesOf(9 * MiB, 'chunked');
      const path = resourceOf(await create('chunked', '?0'));
      const exchange = open(path, 0, '?1', {});
      exchange.request.end(bytes);
      expect((await exchange.answer).status).toBe(200);
      await expectObject('chunked', bytes);
    });
  });

  describe('digests', () => {
    const bytes = bytesOf(100, 'digests');
    const sha256 = `sha-256=:${createHash('sha256').update(bytes).digest('base64')}:`;
    const crc = Buffer.alloc(4);
    crc.writeUInt32BE(crc32(bytes));

    test('of the content: what is garbled is not appended', async () => {
      const path = resourceOf(await create('content-digest', '?0'));
      const garbled = Buffer.from(bytes);
      garbled[0]! ^= 1;
      expect((await patch(path, 0, '?0', garbled, { 'content-digest': sha256 })).status).toBe(422);
      await expectState(path, 0, '?0');
      expect((await patch(path, 0, '?1', bytes, { 'content-digest': sha256 })).status).toBe(200);
    });

    test('of the content, beside a CRC of the representation: what is garbled is sent again', async () => {
      const digests = { 'repr-digest': `crc32=:${crc.toString('base64')}:`, 'content-digest': sha256 };
      const path = resourceOf(await create('both-digests', '?0'));
      const garbled = Buffer.from(bytes);
      garbled[0]! ^= 1;
      expect((await patch(path, 0, '?1', garbled, digests)).status).toBe(422);
      await expectState(path, 0, '?0');
      expect((await patch(path, 0, '?1', bytes, digests)).status).toBe(200);
    });

    test('of the representation, told first with the last of it', async () => {
      const declared = { 'repr-digest': `crc32=:${crc.toString('base64')}:` };
      const path = resourceOf(await create('told-last', '?0', bytes.subarray(0, 50)));
      const rest = Buffer.from(bytes.subarray(50));
      rest[0]! ^= 1;
      expectProblem(await patch(path, 50, '?1', rest, declared), 422, { code: 'digest_mismatch' });
      expect((await head(path)).status).toBe(404);
      const right = resourceOf(await create('told-last', '?0', bytes.subarray(0, 50)));
      expect((await patch(right, 50, '?1', bytes.subarray(50), declared)).status).toBe(200);
    });

    test('of the representation: another one is not completed', async () => {
      const declared = { 'repr-digest': `crc32=:${crc.toString('base64')}:` };
      const path = resourceOf(await create('repr-digest', '?0', undefined, declared));
      expectProblem(await patch(path, 0, '?1', Buffer.from('other')), 422, { code: 'digest_mismatch' });
      const right = resourceOf(await create('repr-digest', '?0', bytes.subarray(0, 50), declared));
      expect((await patch(right, 50, '?1', bytes.subarray(50))).status).toBe(200);
    });
  });

  describe.each([100, 9 * MiB, 20 * MiB])('a hash of the representation, %d bytes in one request', (sizeBytes) => {
    const bytes = bytesOf(sizeBytes, 'hash');
    const hashed = (content: Buffer) => ({
      'repr-digest': `sha-256=:${createHash('sha256').update(content).digest('base64')}:`,
    });

    test.each(['with its length', 'chunked'])('%s: another one is not completed, and the upload ends', async (how) => {
      const key = `hash-${sizeBytes}-${how.replaceAll(' ', '-')}`;
      const path = resourceOf(await create(key, '?0'));
      const garbled = Buffer.from(bytes);
      garbled[sizeBytes - 1]! ^= 1;
      const append = (to: string, content: Buffer) => {
        const length = how === 'chunked' ? 'transfer-encoding' : 'content-length';
        const exchange = open(to, 0, '?1', {
          ...hashed(bytes),
          [length]: how === 'chunked' ? how : String(content.length),
        });
        exchange.request.end(content);
        return exchange.answer;
      };
      expectProblem(await append(path, garbled), 422, { code: 'digest_mismatch' });
      expect((await head(path)).status).toBe(404);
      expect((await append(resourceOf(await create(key, '?0')), bytes)).status).toBe(200);
      await expectObject(key, bytes);
    });

    test('told as it is created', async () => {
      const key = `hash-whole-${sizeBytes}`;
      expectProblem(await create(key, '?1', bytes, hashed(Buffer.from('other'))), 422, { code: 'digest_mismatch' });
      expect((await create(key, '?1', bytes, hashed(bytes))).status).toBe(200);
      await expectObject(key, bytes);
    });
  });

  describe('interim responses', () => {
    test.each(['5', '6', '7', '8', '9'])('tell a client of version %s at once where to go on', async (version) => {
      const exchange = wire.open({
        method: 'POST',
        path: '/objects/interim',
        headers: { 'upload-complete': '?1', 'upload-draft-interop-version': version, 'content-length': '3' },
      });
      const [interim] = await once(exchange.request, 'information');
      expect(interim).toMatchObject({
        statusCode: 104,
        statusMessage: 'Upload Resumption Supported',
        headers: {
          'upload-draft-interop-version': version,
          location: expect.stringMatching(/\/resumable\/[0-9a-f]+$/),
          'upload-limit': expect.stringContaining(version === '6' ? 'expires=' : 'max-age='),
        },
      });
      exchange.request.end('abc');
      const { status, headers } = await exchange.answer;
      expect({ status, location: headers.location }).toEqual({ status: 200, location: interim.headers.location });
    });

    test.each([undefined, '4', '10'])('are not sent where the version is %s', async (version) => {
      const headers: Headers = version === undefined ? {} : { 'upload-draft-interop-version': version };
      const exchange = wire.open({
        method: 'POST',
        path: '/objects/no-interim',
        headers: { 'upload-complete': '?1', 'content-length': '3', ...headers },
      });
      let interims = 0;
      exchange.request.on('information', () => {
        interims += 1;
      });
      exchange.request.end('abc');
      expect((await exchange.answer).status).toBe(200);
      expect(interims).toBe(0);
    });

    test('tell how far a body has come', async () => {
      const bytes = bytesOf(40 * MiB, 'progress');
      const path = resourceOf(await create('progress', '?0'));
      const exchange = open(path, 0, '?1', {
        'content-length': String(bytes.length),
        'upload-draft-interop-version': '9',
      });
      const told: number[] = [];
      exchange.request.on('information', ({ headers }) => {
        expect(headers.location).toBeUndefined();
        told.push(Number(headers['upload-offset']));
      });
      const piece = 8 * MiB;
      for (let at = 0; at < bytes.length - piece; at += piece) {
        await exchange.write(bytes.subarray(at, at + piece));
        // The bytes are durable before the rest goes: so there is time to tell.
        await expect
          .poll(async () => (await gateway.client.look(idOf(path))).offset, { timeout: 20_000 })
          .toBe(at + piece);
      }
      exchange.request.end(bytes.subarray(-piece));
      expect((await exchange.answer).status).toBe(200);
      expect(told.length).toBeGreaterThan(0);
      expect(told).toEqual(told.toSorted((a, b) => a - b));
    });
  });

  describe('a request that hangs', () => {
    async function hanging(key: string, bytes: Buffer): Promise<{ path: string; exchange: Exchange }> {
      const path = resourceOf(await create(key, '?0', undefined, { 'upload-length': String(bytes.length) }));
      const exchange = open(path, 0, '?1', { 'content-length': String(bytes.length) });
      exchange.answer.catch(() => undefined);
      gateway.probe.forget();
      await exchange.write(bytes.subarray(0, MiB));
      await gateway.probe.nth('uploadPart', 1);
      return { path, exchange };
    }

    test.each(['here', 'elsewhere'])('is ended by HEAD (%s), whose offset can be used', async (where) => {
      const bytes = bytesOf(2 * MiB, `hangs ${where}`);
      const { path, exchange } = await hanging(`hangs-${where}`, bytes);
      const at = where === 'here' ? wire : new Wire(other.url);
      const offset = Number((await head(path, at)).headers['upload-offset']);
      expect(offset).toBeGreaterThan(0);
      exchange.request.end(bytes.subarray(MiB));
      await exchange.answer.catch(() => undefined);
      await expectState(path, offset, '?0', bytes.length);
      expect((await patch(path, offset, '?1', bytes.subarray(offset))).status).toBe(200);
      await expectObject(`hangs-${where}`, bytes);
      if (where === 'elsewhere') at.close();
    });

    test.each([10, 200_000])(
      'is one of several (%d bytes) that come at once, of which one counts',
      async (sizeBytes) => {
        const path = resourceOf(await create(`at-once-${sizeBytes}`, '?0'));
        const sent = ['1', '2', '3'].map((fill) => Buffer.alloc(sizeBytes, fill));
        const answers = await Promise.all(sent.map((body) => patch(path, 0, '?0', body)));
        const counted = sent.filter((_, index) => answers[index]?.status === 204);
        expect(counted).toHaveLength(1);
        for (const { status, headers } of answers) {
          if (status === 409)
            expect(headers).toMatchObject({ 'upload-offset': String(sizeBytes), 'upload-complete': '?0' });
          else expect([204, 503]).toContain(status);
        }
        expect((await patch(path, sizeBytes, '?1')).status).toBe(200);
        await expectObject(`at-once-${sizeBytes}`, Buffer.concat(counted));
      },
    );

    test('is ended by a newer one, which is told how much of it is kept', async () => {
      const bytes = bytesOf(2 * MiB, 'newer');
      const { path, exchange } = await hanging('newer', bytes);
      const refusal = await patch(path, 0, '?1', bytes);
      const offset = Number(refusal.headers['upload-offset']);
      expect(offset).toBeGreaterThan(0);
      expectProblem(refusal, 409, { 'expected-offset': offset, 'provided-offset': 0 });
      expect((await patch(path, offset, '?1', bytes.subarray(offset))).status).toBe(200);
      exchange.request.destroy();
      await expectObject('newer', bytes);
    });

    test('is ended by DELETE', async () => {
      const { path, exchange } = await hanging('cancelled', bytesOf(2 * MiB, 'cancelled'));
      expect((await send('DELETE', path)).status).toBe(204);
      for (const method of ['HEAD', 'DELETE']) expect((await send(method, path)).status).toBe(404);
      exchange.request.destroy();
    });

    test('and is cut off, leaves what came', async () => {
      const bytes = bytesOf(2 * MiB, 'cut');
      const { path, exchange } = await hanging('cut', bytes);
      exchange.request.destroy();
      const offset = Number((await head(path)).headers['upload-offset']);
      expect(offset).toBeGreaterThan(0);
      expect((await patch(path, offset, '?1', bytes.subarray(offset))).status).toBe(200);
      await expectObject('cut', bytes);
    });
  });

  test('where the store fails to make the object, it is not complete, and can be completed', async () => {
    const path = resourceOf(await create('unmade', '?0'));
    const restore = gateway.probe.before('completeMultipartUpload', () => {
      throw new StoreError('refused', 'no');
    });
    expect((await patch(path, 0, '?1', Buffer.from('abc'))).status).toBe(503);
    restore();
    await expectState(path, 3, '?0', 3);
    expect((await patch(path, 3, '?1')).status).toBe(200);
    await expectObject('unmade', Buffer.from('abc'));
  });

  test('what is asked of a resource without sense is refused', async () => {
    const path = resourceOf(await create('nonsense', '?0'));
    expect((await send('HEAD', path, { 'upload-offset': '0' })).status).toBe(400);
    expect((await send('GET', path, { 'upload-complete': '?0' })).status).toBe(400);
    expect((await send('HEAD', '/resumable/0123')).status).toBe(404);
    expect(await send('POST', '/resumable/0123')).toMatchObject({
      status: 405,
      headers: { allow: 'OPTIONS, HEAD, GET, PATCH, DELETE' },
    });
    expect((await send('GET', path)).headers['upload-offset']).toBe('0');
  });

  test('limits are told to whoever asks by OPTIONS', async () => {
    for (const path of ['/objects/any', '/resumable/0123']) {
      expect(await send('OPTIONS', path)).toMatchObject({
        status: 204,
        headers: {
          'accept-patch': 'application/partial-upload',
          'upload-limit': `max-size=${5 * 1024 ** 4}, min-size=0`,
        },
      });
    }
  });

  const idOf = (path: string) => path.slice('/resumable/'.length);

  function open(path: string, offset: number, complete: string, headers: Headers): Exchange {
    return wire.open({
      method: 'PATCH',
      path,
      headers: {
        'content-type': 'application/partial-upload',
        'upload-offset': String(offset),
        'upload-complete': complete,
        ...('content-length' in headers ? {} : { 'transfer-encoding': 'chunked' }),
        ...headers,
      },
    });
  }
});
