import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { sendHalf, sendHeld } from './hanging-part.ts';
import { openRaw, sayRaw } from './raw-socket.ts';
import { bytesOf, refused } from './rest-client.ts';
import { availableStores, type RestGateway, startRestGateway } from './rest-gateway.ts';

const sizeBytes = 200_000;
const bytes = bytesOf(sizeBytes);

describe.each(await availableStores())('a body that does not come whole, on %s,', (store) => {
  let gateway: RestGateway;

  beforeAll(async () => {
    gateway = await startRestGateway(store, { env: { PARTWAY_BODY_IDLE_TIMEOUT: '1s' } });
  });

  afterAll(() => gateway.stop());

  test('stores nothing, ends the call to the store, and may be sent again at once', async () => {
    const { id } = await gateway.client.create({ key: 'cut', size: sizeBytes });
    const { exchange, call } = await sendHalf(gateway, id, 1, bytes);
    exchange.request.destroy();
    expect(await call.ended).toMatchObject({ status: 'rejected' });
    expect(call.options?.signal?.aborted).toBe(true);
    expect((await gateway.client.listParts(id)).parts).toEqual([]);
    await gateway.client.putPart(id, 1, bytes);
    await gateway.client.complete(id);
    expect((await gateway.client.read('cut')).bytes.equals(bytes)).toBe(true);
  });

  test('leaves the part that was there', async () => {
    const { id } = await gateway.client.create({ key: 'there', size: sizeBytes });
    const part = await gateway.client.putPart(id, 1, bytes);
    const { exchange, call } = await sendHalf(gateway, id, 1, bytesOf(sizeBytes, 'other'));
    exchange.request.destroy();
    await call.ended;
    expect((await gateway.client.listParts(id)).parts).toEqual([part]);
    await gateway.client.complete(id);
    expect((await gateway.client.read('there')).bytes.equals(bytes)).toBe(true);
  });

  test('is given up where it stalls, and may be sent again at once', { timeout: 20_000 }, async () => {
    const { id } = await gateway.client.create({ key: 'stalled', size: sizeBytes });
    const { exchange, call } = await sendHalf(gateway, id, 1, bytes);
    await refused(exchange.answer, 408, 'body_timeout');
    expect((await exchange.answer).headers.connection).toBe('close');
    expect(await call.ended).toMatchObject({ status: 'rejected' });
    expect((await gateway.client.listParts(id)).parts).toEqual([]);
    await gateway.client.putPart(id, 1, bytes);
    expect(await gateway.client.complete(id)).toMatchObject({ state: 'completed' });
  });

  test('is given up where it stalls before its first byte', { timeout: 20_000 }, async () => {
    const { id } = await gateway.client.create({ key: 'silent', size: sizeBytes });
    await refused(gateway.client.openPart(id, 1, sizeBytes).answer, 408, 'body_timeout');
    expect((await gateway.client.listParts(id)).parts).toEqual([]);
  });

  test('gets no answer where its client says that it ends early', async () => {
    const { id } = await gateway.client.create({ key: 'short', size: sizeBytes });
    const calls = gateway.probe.calls('uploadPart').length;
    const { socket, said } = await openRaw(gateway.url);
    socket.write(`PUT /uploads/${id}/parts/1 HTTP/1.1\r\nHost: a\r\nContent-Length: ${sizeBytes}\r\n\r\n`);
    const { ended } = await gateway.probe.nth('uploadPart', calls + 1);
    socket.end(bytes.subarray(1));
    expect(await said).toBe('');
    expect(await ended).toMatchObject({ status: 'rejected' });
    expect((await gateway.client.listParts(id)).parts).toEqual([]);
  });

  test('is stored where its client leaves after its last byte', async () => {
    const { id } = await gateway.client.create({ key: 'left', size: 3 });
    const { exchange, call, release } = await sendHeld(gateway, id, 1, Buffer.from('abc'));
    exchange.request.destroy();
    release();
    expect(await call.ended).toMatchObject({ status: 'fulfilled' });
    await vi.waitFor(async () => expect((await gateway.client.listParts(id)).parts).toHaveLength(1), 10_000);
    await gateway.client.complete(id);
    expect((await gateway.client.read('left')).text).toBe('abc');
  });
});

describe('a body that is longer than announced', () => {
  let gateway: RestGateway;

  beforeAll(async () => {
    gateway = await startRestGateway('disk');
  });

  afterAll(() => gateway.stop());

  test('never becomes a longer part', async () => {
    const { id } = await gateway.client.create({ key: 'long', layout: 'free' });
    await sayRaw(gateway.url, `PUT /uploads/${id}/parts/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcdef`);
    const part = await gateway.client.putPart(id, 2, Buffer.from('xyz'));
    const { parts } = await gateway.client.listParts(id);
    for (const listed of parts) expect(listed.size).toBe(3);
    expect(parts).toContainEqual(part);
  });
});

describe('with as many bodies under way as the memory is for', () => {
  /** The least budget there may be, of half a MiB each. */
  const most = 16;
  let gateway: RestGateway;

  beforeAll(async () => {
    gateway = await startRestGateway('disk', { env: { PARTWAY_MEMORY_BUDGET: '8MiB' } });
  });

  afterAll(() => gateway.stop());

  test('a further one is refused before it is sent, and wanted once one has ended', async () => {
    const { id } = await gateway.client.create({ key: 'overload', layout: 'free' });
    const underWay = [];
    for (let partNumber = 1; partNumber <= most; partNumber++) {
      underWay.push(await sendHalf(gateway, id, partNumber, bytesOf(6)));
    }
    const further = gateway.client.openPart(id, most + 1, 3, { expect: '100-continue' });
    expect(await refused(further.answer, 503, 'overloaded')).toMatchObject({ retryAfter: 1 });
    expect((await further.answer).headers['retry-after']).toBe('1');
    await expect(further.continued).rejects.toThrow('without 100 Continue');
    expect(gateway.probe.calls('uploadPart')).toHaveLength(most);
    expect(await gateway.client.look(id)).toMatchObject({ state: 'open' });

    const [first, ...rest] = underWay;
    first!.exchange.request.end(bytesOf(6).subarray(3));
    expect(await first!.exchange.answer).toMatchObject({ status: 200 });
    await gateway.client.putPart(id, most + 1, bytesOf(3));
    for (const { exchange } of rest) exchange.request.destroy();
    await Promise.all(rest.map(({ call }) => call.ended));
    expect((await gateway.client.listParts(id)).parts).toMatchObject([{ partNumber: 1 }, { partNumber: most + 1 }]);
  });
});
