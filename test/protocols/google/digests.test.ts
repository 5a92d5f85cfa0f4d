import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { StoreError } from '../../../src/core/object-store.ts';
import { bytesOf } from '../rest/rest-client.ts';
import { availableStores, type RestGateway, startRestGateway } from '../rest/rest-gateway.ts';
import { expectDone, expectError, expectIncomplete, GoogleClient, hashesOf } from './google-client.ts';

const MiB = 1024 ** 2;
const bytes = bytesOf(20 * MiB, 'digests');
const store = (await availableStores()).at(-1)!;

describe('the digests of an object', () => {
  let gateway: RestGateway;
  let client: GoogleClient;

  beforeAll(async () => {
    gateway = await startRestGateway(store, { env: { PARTWAY_READ_BACK_MAX: '20MiB' } });
    client = new GoogleClient(gateway.url, gateway.bucket);
  });

  afterAll(async () => {
    client?.close();
    await gateway?.stop();
  });

  /** The first and the last slot through the session, the one between through REST: the last before it. */
  async function uploadMixed(name: string, whole: Buffer): Promise<string> {
    const session = await client.session(name, { 'x-upload-content-length': String(whole.length) });
    const id = /upload_id=([0-9a-f]+)/.exec(session)![1]!;
    const first = await client.put(session, `bytes 0-${8 * MiB - 1}/${whole.length}`, whole.subarray(0, 8 * MiB));
    expectIncomplete(first, 8 * MiB);
    await gateway.client.putPart(id, 2, whole.subarray(8 * MiB, 16 * MiB));
    gateway.probe.forget();
    return session;
  }

  test('are carried along, and nothing is read', async () => {
    gateway.probe.forget();
    const session = await client.session('carried');
    for (let at = 0; at < bytes.length; at += 5 * MiB) {
      const range = `bytes ${at}-${at + 5 * MiB - 1}/${at + 5 * MiB === bytes.length ? bytes.length : '*'}`;
      const answer = await client.put(session, range, bytes.subarray(at, at + 5 * MiB));
      if (range.endsWith('*')) expectIncomplete(answer, at + 5 * MiB);
      else expectDone(answer, bytes);
    }
    expect(gateway.probe.calls('getObject')).toEqual([]);
  });

  test('are read from the object, once, where a part came by another way', async () => {
    const session = await uploadMixed('read', bytes);
    const last = `bytes ${16 * MiB}-${20 * MiB - 1}/${20 * MiB}`;
    expectDone(await client.put(session, last, bytes.subarray(16 * MiB)), bytes);
    expectDone(await client.put(session, 'bytes */*'), bytes);
    expect(gateway.probe.calls('getObject')).toHaveLength(1);
  });

  test('are those of the object where a part by another way took the place of what was sent', async () => {
    const session = await client.session('taken', { 'x-upload-content-length': String(bytes.length) });
    const send = (from: number, to: number) =>
      client.put(session, `bytes ${from}-${to - 1}/${bytes.length}`, bytes.subarray(from, to));
    expectIncomplete(await send(0, 8 * MiB), 8 * MiB);
    const id = new URL(session, gateway.url).searchParams.get('upload_id')?.split('.')[0];
    const other = bytesOf(8 * MiB, 'in its place');
    expect((await gateway.client.request('PUT', `/uploads/${id}/parts/1`, other)).status).toBe(200);
    expectDone(await send(8 * MiB, bytes.length), Buffer.concat([other, bytes.subarray(8 * MiB)]));
  });

  test('are left out where they would have to be read from an object that is too large', async () => {
    const whole = Buffer.concat([bytes, Buffer.from('x')]);
    const session = await uploadMixed('large', whole);
    const last = `bytes ${16 * MiB}-${20 * MiB}/${20 * MiB + 1}`;
    const { status, text } = await client.put(session, last, whole.subarray(16 * MiB));
    expect(status).toBe(200);
    expect(JSON.parse(text)).toMatchObject({ crc32c: hashesOf(whole).crc32c });
    expect(JSON.parse(text)).not.toHaveProperty('md5Hash');
    expect(gateway.probe.calls('getObject')).toEqual([]);
  });

  test('are not those of an object that took its place', async () => {
    const session = await uploadMixed('replaced', bytes);
    const broken = gateway.probe.before('getObject', () => {
      throw new StoreError('unavailable', 'not now');
    });
    const last = `bytes ${16 * MiB}-${20 * MiB - 1}/${20 * MiB}`;
    expectError(await client.put(session, last, bytes.subarray(16 * MiB)), 503, 'backendError');
    broken();
    const other = bytesOf(bytes.length, 'another of the same size');
    expectDone(await client.put(await client.session('replaced'), undefined, other), other);
    const { status, text } = await client.put(session, 'bytes */*');
    expect(status).toBe(200);
    expect(JSON.parse(text)).toMatchObject({ crc32c: hashesOf(bytes).crc32c });
    expect(JSON.parse(text)).not.toHaveProperty('md5Hash');
  });
});
