import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { sendHalf, sendHeld } from './hanging-part.ts';
import { bytesOf, refused } from './rest-client.ts';
import { availableStores, type RestGateway, startRestGateway } from './rest-gateway.ts';

const sizeBytes = 200_000;
const [older, newer] = [bytesOf(sizeBytes, 'older'), bytesOf(sizeBytes, 'newer')];

describe.each(await availableStores())('two requests for one part on %s', (store) => {
  let gateway: RestGateway;
  let other: RestGateway;

  beforeAll(async () => {
    gateway = await startRestGateway(store);
    other = await startRestGateway(store, { beside: gateway });
  });

  afterAll(async () => {
    await other?.stop();
    await gateway.stop();
  });

  describe.each(['the same gateway', 'two gateways'])('on %s', (where) => {
    const second = () => (where === 'two gateways' ? other : gateway);

    test('the newer displaces an older one that hangs', async () => {
      const { id } = await gateway.client.create({ key: `displaced on ${where}`, size: sizeBytes });
      const { exchange, call } = await sendHalf(gateway, id, 1, older);
      const part = await second().client.putPart(id, 1, newer);
      expect(await refused(exchange.answer, 409, 'busy')).toMatchObject({ retryAfter: 1 });
      expect((await exchange.answer).headers).toMatchObject({ 'retry-after': '1', connection: 'close' });
      expect(await call.ended).toMatchObject({ status: 'rejected' });
      expect((await second().client.listParts(id)).parts).toEqual([part]);
      await second().client.complete(id);
      expect((await second().client.read(`displaced on ${where}`)).bytes.equals(newer)).toBe(true);
    });

    test('the newest of three displaces the others', async () => {
      const { id } = await gateway.client.create({ key: `three on ${where}`, size: sizeBytes });
      const first = await sendHalf(gateway, id, 1, older);
      const next = await sendHalf(second(), id, 1, older);
      await refused(first.exchange.answer, 409, 'busy');
      const part = await gateway.client.putPart(id, 1, newer);
      await refused(next.exchange.answer, 409, 'busy');
      expect((await gateway.client.listParts(id)).parts).toEqual([part]);
    });

    test('the newer is told to wait while the store confirms the older one', { timeout: 30_000 }, async () => {
      const { id } = await gateway.client.create({ key: `confirmed on ${where}`, size: 3 });
      const { exchange, release } = await sendHeld(gateway, id, 1, Buffer.from('old'));
      try {
        const announced = second().client.openPart(id, 1, 3, { expect: '100-continue' });
        const { retryAfter } = await refused(announced.answer, 409, 'busy');
        expect((await announced.answer).headers['retry-after']).toBe(String(retryAfter));
        expect(retryAfter).toBeGreaterThanOrEqual(1);
        await expect(announced.continued).rejects.toThrow('without 100 Continue');
      } finally {
        release();
      }
      expect(await exchange.answer).toMatchObject({ status: 200 });
      await second().client.putPart(id, 1, Buffer.from('new'));
      await second().client.complete(id);
      expect((await second().client.read(`confirmed on ${where}`)).text).toBe('new');
    });

    test('a newer one that is to be refused disturbs nobody', async () => {
      const { id } = await gateway.client.create({ key: `undisturbed on ${where}`, size: sizeBytes });
      const { exchange } = await sendHalf(gateway, id, 1, older);
      const refusal = second().client.request('PUT', `/uploads/${id}/parts/1`, bytesOf(3));
      await refused(refusal, 422, 'part_size_mismatch');
      exchange.request.end(older.subarray(sizeBytes / 2));
      expect(await exchange.answer).toMatchObject({ status: 200 });
    });

    test('whoever is acknowledged last is what is stored', { timeout: 60_000 }, async () => {
      const { id } = await gateway.client.create({ key: `crowd on ${where}`, size: sizeBytes });
      const contents = Array.from({ length: 6 }, (_, index) => bytesOf(sizeBytes, `content ${index}`));
      const acknowledged: { etag: string | undefined; content: Buffer }[] = [];
      await Promise.all(
        contents.map(async (content, index) => {
          const { client } = index % 2 === 0 ? gateway : second();
          const answer = await client.request('PUT', `/uploads/${id}/parts/1`, content);
          if (answer.status === 200) acknowledged.push({ etag: answer.headers.etag, content });
          else await refused(Promise.resolve(answer), 409, 'busy');
        }),
      );
      const { parts } = await gateway.client.listParts(id);
      const winner = acknowledged.find(({ etag }) => etag === parts[0]?.etag);
      expect(winner).toBeDefined();
      await gateway.client.complete(id);
      const { bytes } = await gateway.client.read(`crowd on ${where}`);
      expect(bytes.equals(winner!.content)).toBe(true);
    });
  });

  test('of different parts disturb each other in nothing', async () => {
    const { id } = await gateway.client.create({ key: 'different', layout: 'free' });
    const { exchange } = await sendHalf(gateway, id, 1, older);
    await other.client.putPart(id, 2, newer);
    exchange.request.end(older.subarray(sizeBytes / 2));
    expect(await exchange.answer).toMatchObject({ status: 200 });
    expect((await gateway.client.listParts(id)).parts).toMatchObject([{ partNumber: 1 }, { partNumber: 2 }]);
  });
});
