import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { countRecords } from '../rest/count-records.ts';
import { bytesOf } from '../rest/rest-client.ts';
import { availableStores, type RestGateway, startRestGateway } from '../rest/rest-gateway.ts';
import { expectDone, expectError, expectIncomplete, GoogleClient, hashesOf } from './google-client.ts';

const KiB = 1024;
const MiB = 1024 ** 2;

describe.each(await availableStores())('a session on %s', (store) => {
  let gateway: RestGateway;
  let client: GoogleClient;

  beforeAll(async () => {
    gateway = await startRestGateway(store);
    client = new GoogleClient(gateway.url, gateway.bucket);
  });

  afterAll(async () => {
    client?.close();
    await gateway?.stop();
  });

  async function expectObject(name: string, bytes: Buffer): Promise<void> {
    expect((await gateway.client.read(name)).bytes.equals(bytes)).toBe(true);
  }

  test('takes chunks of a known total, and tells after each what is durable', async () => {
    const bytes = bytesOf(20 * MiB + 5, 'known');
    const session = await client.session('known', { 'x-upload-content-length': String(bytes.length) });
    for (let at = 0; at < bytes.length; at += 8 * MiB) {
      const chunk = bytes.subarray(at, at + 8 * MiB);
      const end = at + chunk.length;
      const answer = await client.put(session, `bytes ${at}-${end - 1}/${bytes.length}`, chunk);
      if (end < bytes.length) expectIncomplete(answer, end);
      else expectDone(answer, bytes);
    }
    await expectObject('known', bytes);
  });

  test('takes small chunks of a total that only the last one tells', async () => {
    const bytes = bytesOf(9 * MiB + 300, 'late total');
    const session = await client.session('late-total');
    for (let at = 0; at < bytes.length; at += 256 * KiB) {
      const chunk = bytes.subarray(at, at + 256 * KiB);
      const end = at + chunk.length;
      const isLast = end === bytes.length;
      const answer = await client.put(session, `bytes ${at}-${end - 1}/${isLast ? end : '*'}`, chunk);
      if (isLast) expectDone(answer, bytes);
      else expectIncomplete(answer, end);
    }
    await expectObject('late-total', bytes);
  });

  test('does not answer more bytes than the object has with the object', async () => {
    const bytes = bytesOf(100, 'completed');
    const session = await client.session('more-than-it-has');
    expectDone(await client.put(session, undefined, bytes), bytes);
    for (const sent of [Buffer.concat([bytes, bytes]), bytes]) {
      const exchange = client.openPut(session, { 'content-range': 'bytes 0-*/*' });
      exchange.request.end(sent);
      if (sent === bytes) expectDone(await exchange.answer, bytes);
      else expectError(await exchange.answer, 400, 'invalid');
    }
  });

  test('takes what Go’s client sends, by POST', async () => {
    const bytes = bytesOf(600 * KiB, 'go');
    const session = await client.session('go');
    const post = (range: string, body: Buffer) =>
      client.wire.send(
        { method: 'POST', path: session, headers: { 'content-range': range, 'x-guploader-no-308': 'yes' } },
        body,
      );
    const first = await post('bytes 0-262143/*', bytes.subarray(0, 256 * KiB));
    expect({ status: first.status, ...first.headers }).toMatchObject({
      status: 200,
      'x-http-status-code-override': '308',
      range: 'bytes=0-262143',
    });
    expectDone(await post(`bytes 262144-${bytes.length - 1}/${bytes.length}`, bytes.subarray(256 * KiB)), bytes);
    const patched = await client.wire.send({ method: 'PATCH', path: session }, bytes);
    expect({ status: patched.status, allow: patched.headers.allow }).toEqual({
      status: 405,
      allow: 'POST, PUT, DELETE',
    });
  });

  describe('whose last request states a hash of the whole', () => {
    const bytes = bytesOf(600 * KiB, 'hashed');
    const { crc32c, md5Hash } = hashesOf(bytes);
    const wrong = hashesOf(bytesOf(600 * KiB, 'other'));

    const send = async (name: string, hash: string, chunkBytes: number) => {
      const session = await client.session(name);
      for (let at = 0; ; at += chunkBytes) {
        const chunk = bytes.subarray(at, at + chunkBytes);
        const end = at + chunk.length;
        const isLast = end === bytes.length;
        const range = `bytes ${at}-${end - 1}/${isLast ? end : '*'}`;
        const answer = await client.put(session, range, chunk, isLast ? { 'x-goog-hash': hash } : {});
        if (isLast) return answer;
        expectIncomplete(answer, end);
      }
    };
    const isThere = async (name: string) => (await gateway.client.request('GET', `/objects/${name}`)).status === 200;

    test.each([bytes.length, 256 * KiB])('is made where it is true (%d bytes at once)', async (chunkBytes) => {
      expectDone(await send(`hashed-${chunkBytes}`, `crc32c=${crc32c},md5=${md5Hash}`, chunkBytes), bytes);
    });

    test.each([
      ['CRC-32C', `crc32c=${wrong.crc32c}`],
      ['MD5', `md5=${wrong.md5Hash}`],
      ['one of both', `crc32c=${crc32c}, md5=${wrong.md5Hash}`],
      ['nothing of the kind', 'nonsense'],
      ['something too short', 'crc32c=AAAA'],
    ])('is not made where it is another: %s', async (what, hash) => {
      for (const chunkBytes of [bytes.length, 256 * KiB]) {
        const name = `wrong-${what.replaceAll(' ', '-')}-${chunkBytes}`;
        expectError(await send(name, hash, chunkBytes), 400, 'invalid');
        expect(await isThere(name)).toBe(false);
      }
    });

    test('ends where all bytes are there and are not those of the hash; a hash of a refused request says nothing', async () => {
      const session = await client.session('garbled-last');
      const put = (from: number, body: Buffer, crc: string) =>
        client.put(session, `bytes ${from}-${bytes.length - 1}/${bytes.length}`, body, {
          'x-goog-hash': `crc32c=${crc}`,
        });
      expectIncomplete(await client.put(session, 'bytes 0-262143/*', bytes.subarray(0, 256 * KiB)), 256 * KiB);
      expectError(await put(300 * KiB, bytes.subarray(300 * KiB), wrong.crc32c), 416, 'requestedRangeNotSatisfiable');
      const garbled = Buffer.from(bytes.subarray(256 * KiB));
      garbled[0]! ^= 1;
      expectError(await put(256 * KiB, garbled, crc32c), 400, 'invalid');
      expect((await client.put(session, 'bytes */*')).status).toBe(410);
    });

    test('is held against it also where a client hops between gateways', async () => {
      const other = await startRestGateway(store, { beside: gateway });
      const there = new GoogleClient(other.url, other.bucket);
      try {
        for (const [name, md5, status] of [
          ['hops', md5Hash, 200],
          ['hops-wrong', wrong.md5Hash, 400],
        ] as const) {
          const session = await client.session(name);
          const put = (at: GoogleClient, from: number, to: number, total: string, headers = {}) =>
            at.put(session, `bytes ${from}-${to - 1}/${total}`, bytes.subarray(from, to), headers);
          expectIncomplete(await put(client, 0, 256 * KiB, '*'), 256 * KiB);
          expectIncomplete(await put(there, 256 * KiB, 512 * KiB, '*'), 512 * KiB);
          const hash = { 'x-goog-hash': `md5=${md5}` };
          const last = await put(client, 512 * KiB, bytes.length, String(bytes.length), hash);
          expect(last.status).toBe(status);
        }
      } finally {
        there.close();
        await other.stop();
      }
    });

    test('takes nothing of a request whose own digest is another', async () => {
      const session = await client.session('content-md5');
      const put = (md5: string) => client.put(session, undefined, bytes, { 'content-md5': md5 });
      expectError(await put(wrong.md5Hash), 400, 'invalid');
      expectIncomplete(await client.put(session, 'bytes */*'), 0);
      expectDone(await put(md5Hash), bytes);
    });

    test('is made where the range is open, and the hash one of what was read by then', async () => {
      const session = await client.session('open-range');
      const headers = { 'x-goog-hash': `crc32c=${wrong.crc32c}` };
      expectDone(await client.put(session, `bytes 0-*/${bytes.length}`, bytes, headers), bytes);
    });
  });

  test('takes a chunk in order with two round trips to the records', async () => {
    const counted: string[] = [];
    const metered = await startRestGateway(store, { beside: gateway, wrapRecords: countRecords(counted) });
    const cheap = new GoogleClient(metered.url, metered.bucket);
    try {
      const bytes = bytesOf(8 * MiB, 'cheap');
      const session = await cheap.session('cheap', { 'x-upload-content-length': String(bytes.length) });
      const put = (at: number, end: number) =>
        cheap.put(session, `bytes ${at}-${end - 1}/${bytes.length}`, bytes.subarray(at, end));
      await put(0, 256 * KiB);
      counted.length = 0;
      expectIncomplete(await put(256 * KiB, 512 * KiB), 512 * KiB);
      expect(counted).toEqual(['beginFragment', 'commitFragment']);
    } finally {
      cheap.close();
      await metered.stop();
    }
  });

  test('is done by an empty PUT with the total, where the last chunk was full', async () => {
    const bytes = bytesOf(512 * KiB, 'full');
    const session = await client.session('full');
    expectIncomplete(await client.put(session, `bytes 0-${bytes.length - 1}/*`, bytes), bytes.length);
    expectError(await client.put(session, `bytes */${bytes.length - 1}`), 400, 'invalid');
    expectDone(await client.put(session, `bytes */${bytes.length}`), bytes);
    await expectObject('full', bytes);
  });

  test.each([
    ['bytes 0-*/*', 'chunked'],
    [undefined, 'chunked'],
    [undefined, 'length'],
    ['bytes 0-*/*', 'length'],
    ['bytes 0-*/TOTAL', 'chunked'],
  ])('takes all in one request: %s, %s', async (contentRange, framing) => {
    const bytes = bytesOf(11 * MiB + 3, 'one');
    const name = `one-${contentRange?.replaceAll(/\W/g, '-')}-${framing}`;
    const session = await client.session(name);
    const exchange = client.openPut(session, {
      ...(contentRange === undefined ? {} : { 'content-range': contentRange.replace('TOTAL', String(bytes.length)) }),
      ...(framing === 'length' ? { 'content-length': String(bytes.length) } : {}),
    });
    exchange.request.end(bytes);
    expectDone(await exchange.answer, bytes);
    await expectObject(name, bytes);
  });

  test('takes the rest of an unknown length after a chunk', async () => {
    const bytes = bytesOf(6 * MiB, 'rest');
    const session = await client.session('rest');
    expectIncomplete(await client.put(session, `bytes 0-${MiB - 1}/*`, bytes.subarray(0, MiB)), MiB);
    const exchange = client.openPut(session, { 'content-range': `bytes ${MiB}-*/*` });
    exchange.request.end(bytes.subarray(MiB));
    expectDone(await exchange.answer, bytes);
    await expectObject('rest', bytes);
  });

  test('a body that ends before the total leaves what came, and more is wanted', async () => {
    const session = await client.session('short');
    const exchange = client.openPut(session, { 'content-range': 'bytes 0-*/5' });
    exchange.request.end('abc');
    expectIncomplete(await exchange.answer, 3);
    expectDone(await client.put(session, 'bytes 3-4/5', Buffer.from('de')), Buffer.from('abcde'));
  });

  test.each([
    ['bytes */0', 'length'],
    ['bytes 0--1/0', 'length'],
    [undefined, 'length'],
    ['bytes 0-*/*', 'chunked'],
    ['bytes 0-*/0', 'chunked'],
  ])('makes an empty object: %s, %s', async (contentRange, framing) => {
    const session = await client.session(`empty-${contentRange?.replaceAll(/\W/g, '-')}`);
    const headers = contentRange === undefined ? {} : { 'content-range': contentRange };
    const exchange = client.openPut(session, framing === 'length' ? { ...headers, 'content-length': '0' } : headers);
    exchange.request.end();
    expectDone(await exchange.answer, Buffer.alloc(0));
  });

  test('passes over bytes below the offset, and stores none above it', async () => {
    const bytes = bytesOf(3 * MiB, 'overlap');
    const session = await client.session('overlap');
    expectIncomplete(await client.put(session, `bytes 0-${MiB - 1}/*`, bytes.subarray(0, MiB)), MiB);
    const answer = await client.put(session, `bytes ${MiB + 1}-${2 * MiB}/*`, bytes.subarray(MiB + 1, 2 * MiB + 1));
    expectError(answer, 416, 'requestedRangeNotSatisfiable');
    expect(answer.headers.range).toBe(`bytes=0-${MiB - 1}`);
    expectIncomplete(await client.put(session, 'bytes */*'), MiB);
    const again = Buffer.concat([bytesOf(MiB, 'never looked at'), bytes.subarray(MiB, 2 * MiB)]);
    expectIncomplete(await client.put(session, `bytes 0-${2 * MiB - 1}/*`, again), 2 * MiB);
    expectIncomplete(await client.put(session, 'bytes 0-99/*', bytesOf(100, 'nor these')), 2 * MiB);
    expectDone(await client.put(session, `bytes ${2 * MiB}-${3 * MiB - 1}/${3 * MiB}`, bytes.subarray(2 * MiB)), bytes);
    await expectObject('overlap', bytes);
  });

  test('tells what it holds as often as it is asked', async () => {
    const session = await client.session('asked', { 'x-upload-content-length': '5' });
    expectIncomplete(await client.put(session, 'bytes */*'), 0);
    expectIncomplete(await client.put(session, 'bytes */5'), 0);
    expectIncomplete(await client.put(session, 'bytes 0-2/5', Buffer.from('abc')), 3);
    expectIncomplete(await client.put(session, 'bytes */*'), 3);
    expectIncomplete(await client.put(session, 'bytes */5'), 3);
    expectError(await client.put(session, 'bytes */6'), 400, 'invalid');
    expectDone(await client.put(session, 'bytes 3-4/5', Buffer.from('de')), Buffer.from('abcde'));
    expectDone(await client.put(session, 'bytes */*'), Buffer.from('abcde'));
    expectDone(await client.put(session, 'bytes */5'), Buffer.from('abcde'));
    expectError(await client.put(session, 'bytes */6'), 400, 'invalid');
  });

  test('says 200 where 308 would be taken for a redirect', async () => {
    const session = await client.session('no-308');
    const no308 = { 'x-guploader-no-308': 'yes' };
    const answer = await client.put(session, 'bytes 0-2/*', Buffer.from('abc'), no308);
    expect(answer).toMatchObject({ status: 200, text: '' });
    expect(answer.headers).toMatchObject({ 'x-http-status-code-override': '308', range: 'bytes=0-2' });
    const done = await client.put(session, 'bytes */3', undefined, no308);
    expectDone(done, Buffer.from('abc'));
    expect(done.headers['x-http-status-code-override']).toBeUndefined();
  });

  test('gives its last answer again to a client that sends the last chunk again', async () => {
    const bytes = bytesOf(12 * MiB, 'again');
    const session = await client.session('again');
    const range = `bytes ${8 * MiB}-${12 * MiB - 1}/${12 * MiB}`;
    expectIncomplete(await client.put(session, `bytes 0-${8 * MiB - 1}/*`, bytes.subarray(0, 8 * MiB)), 8 * MiB);
    const object = expectDone(await client.put(session, range, bytes.subarray(8 * MiB)), bytes);
    expect(expectDone(await client.put(session, range, bytes.subarray(8 * MiB)), bytes)).toEqual(object);
    expect(expectDone(await client.put(session, undefined, bytes), bytes)).toEqual(object);
    expectError(await client.put(session, `bytes ${12 * MiB}-${12 * MiB}/*`, Buffer.from('x')), 400, 'invalid');
  });

  test('refuses what contradicts its size, and goes on as if it had not come', async () => {
    const session = await client.session('sized', { 'x-upload-content-length': '5' });
    expectError(await client.put(session, 'bytes 0-2/6', Buffer.from('abc')), 400, 'invalid');
    expectError(await client.put(session, 'bytes 0-5/*', Buffer.from('abcdef')), 400, 'invalid');
    expectError(await client.put(session, undefined, Buffer.from('abcdef')), 400, 'invalid');
    expectError(await client.put(session, 'bytes 0-4/5', Buffer.from('abc')), 400, 'invalid');
    expectIncomplete(await client.put(session, 'bytes */*'), 0);
    expectDone(await client.put(session, undefined, Buffer.from('abcde')), Buffer.from('abcde'));
  });

  test('keeps what came before its client was cut off', async () => {
    const bytes = bytesOf(3 * MiB, 'cut');
    const session = await client.session('cut');
    const exchange = client.openPut(session, { 'content-range': 'bytes 0-*/*' });
    await exchange.write(bytes.subarray(0, MiB + 17));
    exchange.request.destroy();
    const held = await heldBytes(session, (offset) => offset > 0);
    expect(held).toBeLessThanOrEqual(MiB + 17);
    const rest = client.openPut(session, { 'content-range': `bytes ${held}-*/*` });
    rest.request.end(bytes.subarray(held));
    expectDone(await rest.answer, bytes);
    await expectObject('cut', bytes);
  });

  test('is taken over by a newer request, where the older one hangs', async () => {
    const bytes = bytesOf(2 * MiB, 'hanging');
    const session = await client.session('hanging');
    const hanging = client.openPut(session, {
      'content-range': `bytes 0-${2 * MiB - 1}/${2 * MiB}`,
      'content-length': String(2 * MiB),
    });
    gateway.probe.forget();
    await hanging.write(bytes.subarray(0, MiB));
    await gateway.probe.nth('uploadPart', 1);
    expectDone(await client.put(session, undefined, bytes), bytes);
    hanging.request.destroy();
    await expectObject('hanging', bytes);
  });

  test('is cancelled with 499, and gone', async () => {
    const session = await client.session('cancelled');
    expectIncomplete(await client.put(session, 'bytes 0-2/*', Buffer.from('abc')), 3);
    expect(await client.cancel(session)).toMatchObject({ status: 499, text: '' });
    expect((await client.cancel(session)).status).toBe(499);
    expectError(await client.put(session, 'bytes */*'), 410, 'gone');
    expectError(await client.put(session, 'bytes 3-5/6', Buffer.from('def')), 410, 'gone');
  });

  test('that is done cannot be cancelled', async () => {
    const session = await client.session('done');
    expectDone(await client.put(session, undefined, Buffer.from('abc')), Buffer.from('abc'));
    expectError(await client.cancel(session), 409, 'conflict');
    await expectObject('done', Buffer.from('abc'));
  });

  /** Asks until the answer is as wanted. */
  async function heldBytes(session: string, isWanted: (offset: number) => boolean): Promise<number> {
    const deadline = Date.now() + 20_000;
    for (;;) {
      const { status, headers } = await client.put(session, 'bytes */*');
      const offset = Number(/^bytes=0-(\d+)$/.exec(headers.range ?? '')?.[1] ?? -1) + 1;
      if (status === 308 && isWanted(offset)) return offset;
      if (Date.now() > deadline) throw new Error(`still ${status} ${headers.range} at the deadline`);
    }
  }
});
