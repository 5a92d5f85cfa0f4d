import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { GoogleClient } from './google/google-client.ts';
import { availableStores, type RestGateway, startRestGateway } from './rest/rest-gateway.ts';

const slotBytes = 5 * 1024 ** 2;
const content = randomBytes(2 * slotBytes + 123);
const fronts = ['rest', 'content-range', 'google'] as const;
type Front = (typeof fronts)[number];
const walks = fronts.flatMap((begun) =>
  fronts.flatMap((goesOn) => fronts.map((ends) => ({ begun, goesOn, ends }) as const)),
);

describe.each(await availableStores())('one upload on %s', (store) => {
  let gateway: RestGateway;
  let google: GoogleClient;
  beforeAll(async () => {
    gateway = await startRestGateway(store);
    google = new GoogleClient(gateway.url, gateway.bucket);
  });
  afterAll(async () => {
    google.close();
    await gateway.stop();
  });

  const rangeOf = (partNumber: number) => {
    const from = (partNumber - 1) * slotBytes;
    const bytes = content.subarray(from, partNumber * slotBytes);
    return { bytes, contentRange: `bytes ${from}-${from + bytes.length - 1}/${content.length}` };
  };

  async function begin(front: Front, key: string): Promise<string> {
    const { bytes, contentRange } = rangeOf(1);
    if (front === 'rest') {
      const { id } = await gateway.client.create({ key, size: content.length, partSize: slotBytes });
      await send('rest', id, 1);
      return id;
    }
    if (front === 'content-range') {
      const answer = await gateway.client.request('POST', `/objects/${key}`, bytes, { 'content-range': contentRange });
      expect(`${answer.status} ${answer.text}`).toMatch(/^200 /);
      return (JSON.parse(answer.text) as { id: string }).id;
    }
    const session = await google.session(key, { 'x-upload-content-length': String(content.length) });
    expect((await google.put(session, contentRange, bytes)).status).toBe(308);
    return new URL(session, gateway.url).searchParams.get('upload_id')?.split('.')[0] ?? '';
  }

  async function send(front: Front, id: string, partNumber: number): Promise<number> {
    const { bytes, contentRange } = rangeOf(partNumber);
    switch (front) {
      case 'rest':
        return (await gateway.client.request('PUT', `/uploads/${id}/parts/${partNumber}`, bytes)).status;
      case 'content-range':
        return (await gateway.client.request('PUT', `/uploads/${id}`, bytes, { 'content-range': contentRange })).status;
      case 'google': {
        const session = `/upload/storage/v1/b/${gateway.bucket}/o?uploadType=resumable&upload_id=${id}`;
        return (await google.put(session, contentRange, bytes)).status;
      }
    }
  }

  test.each(walks)('begun by $begun, goes on by $goesOn and ends by $ends', async ({ begun, goesOn, ends }) => {
    const key = `walks/${begun}-${goesOn}-${ends}.bin`;
    const id = await begin(begun, key);
    expect(await gateway.client.look(id)).toMatchObject({ state: 'open', offset: slotBytes, partSize: slotBytes });
    expect(await send(goesOn, id, 2)).toBe(goesOn === 'google' ? 308 : 200);
    const { parts, missing } = await gateway.client.listParts(id);
    expect(parts.map(({ partNumber }) => partNumber)).toEqual([1, 2]);
    expect(missing.map(({ partNumber }) => partNumber)).toEqual([3]);
    expect(await send(ends, id, 3)).toBe(200);
    if (ends === 'rest') await gateway.client.complete(id);
    expect(await gateway.client.look(id)).toMatchObject({ state: 'completed', size: content.length });
    expect((await gateway.client.read(key)).bytes.equals(content)).toBe(true);
  });

  test('before its first byte tells the parts that are missing, which complete it', async () => {
    const session = await google.session('listed', { 'x-upload-content-length': String(content.length) });
    const id = new URL(session, gateway.url).searchParams.get('upload_id')?.split('.')[0];
    const { missing } = JSON.parse((await gateway.client.request('GET', `/uploads/${id}/parts`)).text) as {
      missing: { partNumber: number; offset: number; size: number }[];
    };
    for (const { partNumber, offset, size } of missing) {
      const part = content.subarray(offset, offset + size);
      expect((await gateway.client.request('PUT', `/uploads/${id}/parts/${partNumber}`, part)).status).toBe(200);
    }
    expect((await gateway.client.request('POST', `/uploads/${id}/complete`)).status).toBe(200);
    expect((await gateway.client.read('listed')).bytes.equals(content)).toBe(true);
  });
});
