import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { useMinio, useRgw } from '../../support/stores.ts';
import { bytesOf, refused } from './rest-client.ts';
import { type RestGateway, startRestGateway } from './rest-gateway.ts';

const partSize = 5 * 1024 ** 2;
const [hasMinio, hasRgw] = [(await useMinio()) !== undefined, (await useRgw()) !== undefined];

let gateway: RestGateway;

async function sendDirectly(id: string, partNumber: number, bytes: Buffer): Promise<{ etag: string }> {
  const { parts } = await gateway.client.sign(id, { partNumbers: [partNumber] });
  const { status, headers } = await fetch(parts[0]!.url, { method: 'PUT', body: new Uint8Array(bytes) });
  expect(status).toBe(200);
  return { etag: headers.get('etag')! };
}

/** Two parts at the store, of which the gateway has heard of the first alone. */
async function halfReported(key: string): Promise<{ id: string; second: { partNumber: number; etag: string } }> {
  const { id } = await gateway.client.create({ key, partSize });
  const first = await sendDirectly(id, 1, bytesOf(partSize, 'first'));
  const second = await sendDirectly(id, 2, bytesOf(3, 'second'));
  await gateway.client.report(id, [{ partNumber: 1, ...first }]);
  return { id, second: { partNumber: 2, ...second } };
}

/** A part at the store that lies behind the end that a shorter one has set. */
async function endedBefore(key: string): Promise<{ id: string }> {
  const { id } = await gateway.client.create({ key, partSize });
  await gateway.client.putPart(id, 1, bytesOf(partSize, 'first'));
  await sendDirectly(id, 3, bytesOf(partSize));
  await gateway.client.putPart(id, 2, bytesOf(3, 'second'));
  return { id };
}

const complete = (id: string) => gateway.client.request('POST', `/uploads/${id}/complete`);

describe.skipIf(!hasRgw)('a part that is stored but not on record, on Ceph RGW,', () => {
  beforeAll(async () => {
    gateway = await startRestGateway('rgw');
  });

  afterAll(() => gateway.stop());

  test('is named by the complete that it hinders, and may be reported', async () => {
    const { id, second } = await halfReported('reported');
    const problem = await refused(complete(id), 409, 'state_conflict');
    expect(problem).toMatchObject({
      unlisted: [2],
      detail: expect.stringMatching(/not on record.*Report them, or abort/),
    });
    expect(await gateway.client.look(id)).toMatchObject({ state: 'open', offset: partSize });
    await gateway.client.report(id, [second]);
    expect(await gateway.client.complete(id)).toMatchObject({ size: partSize + 3 });
    const whole = Buffer.concat([bytesOf(partSize, 'first'), bytesOf(3, 'second')]);
    expect((await gateway.client.read('reported')).bytes.equals(whole)).toBe(true);
  });

  test('behind the end of the upload leaves nothing but to start over', async () => {
    const { id } = await endedBefore('behind');
    expect(await refused(complete(id), 409, 'state_conflict')).toMatchObject({ unlisted: [3] });
    expect((await gateway.client.request('DELETE', `/uploads/${id}`)).status).toBe(204);
  });
});

describe.skipIf(!hasMinio)('a part that is stored but not on record, on MinIO,', () => {
  beforeAll(async () => {
    gateway = await startRestGateway('minio');
  });

  afterAll(() => gateway.stop());

  test('is left out of the object', async () => {
    const { id } = await halfReported('left-out');
    expect(await gateway.client.complete(id)).toMatchObject({ size: partSize });
    expect((await gateway.client.read('left-out')).bytes.equals(bytesOf(partSize, 'first'))).toBe(true);
  });

  test('behind the end of the upload is left out of the object', async () => {
    const { id } = await endedBefore('behind');
    expect(await gateway.client.complete(id)).toMatchObject({ size: partSize + 3 });
  });
});
