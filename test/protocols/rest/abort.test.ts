import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { StoreError } from '../../../src/core/object-store.ts';
import { sendHalf, sendHeld } from './hanging-part.ts';
import { bytesOf, refused } from './rest-client.ts';
import { availableStores, type RestGateway, startRestGateway } from './rest-gateway.ts';

describe.each(await availableStores())('aborting on %s', (store) => {
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

  const abort = (id: string, at = gateway) => at.client.request('DELETE', `/uploads/${id}`);

  test('ends the upload, here and at the store, and may be said again', async () => {
    const { id } = await gateway.client.create({ key: 'ended', size: 3 });
    await gateway.client.putPart(id, 1, bytesOf(3));
    gateway.probe.forget();
    expect(await abort(id)).toMatchObject({ status: 204, text: '' });
    const [{ input } = { input: {} }] = gateway.probe.calls('abortMultipartUpload');
    expect(input).toMatchObject({ bucket: gateway.bucket, key: 'ended', storeUploadId: expect.any(String) });
    expect(await gateway.client.look(id)).toMatchObject({ state: 'aborted', reason: 'requested' });
    gateway.probe.forget();
    expect((await abort(id)).status).toBe(204);
    expect((await abort(id, other)).status).toBe(204);
    expect(gateway.probe.calls()).toEqual([]);
    await refused(gateway.client.read('ended'), 404, 'object_not_found');
  });

  test('says to all that follows why there is nothing', async () => {
    const { id } = await gateway.client.create({ key: 'why', size: 3 });
    await abort(id);
    for (const [method, path, body] of [
      ['PUT', '/parts/1', bytesOf(3)],
      ['POST', '/complete', undefined],
      ['POST', '/parts', { parts: [{ partNumber: 1, etag: 'x' }] }],
      ['POST', '/parts/sign', { partNumbers: [1] }],
    ] as const) {
      const answer = gateway.client.request(method, `/uploads/${id}${path}`, body);
      expect(await refused(answer, 410, 'upload_gone')).toMatchObject({ reason: 'requested' });
    }
  });

  test('of a completed upload is refused, and its object stays', async () => {
    const { id } = await gateway.client.create({ key: 'completed', size: 3 });
    await gateway.client.putPart(id, 1, Buffer.from('abc'));
    const completed = await gateway.client.complete(id);
    expect(await refused(abort(id), 409, 'state_conflict')).toMatchObject({ uploadState: 'completed' });
    expect(await gateway.client.look(id)).toEqual(completed);
    expect((await gateway.client.read('completed')).text).toBe('abc');
  });

  test('while it completes is refused, and the completion goes on', async () => {
    const { id } = await gateway.client.create({ key: 'completing', size: 3 });
    await gateway.client.putPart(id, 1, Buffer.from('abc'));
    const { reached, release } = gateway.probe.hold('completeMultipartUpload');
    const completed = gateway.client.complete(id);
    await reached;
    expect(await refused(abort(id, other), 409, 'busy')).toMatchObject({ uploadState: 'completing' });
    release();
    expect(await completed).toMatchObject({ state: 'completed' });
    expect((await gateway.client.read('completing')).text).toBe('abc');
  });

  test.each(['no-such-upload', '0'.repeat(32), '%00'])('of %s finds nothing', async (id) => {
    await refused(abort(id), 404, 'upload_not_found');
  });

  test('twice at once is asked of the store once', async () => {
    const { id } = await gateway.client.create({ key: 'twice', size: 3 });
    gateway.probe.forget();
    other.probe.forget();
    const answers = await Promise.all([abort(id), abort(id, other), abort(id)]);
    expect(answers.map(({ status }) => status)).toEqual([204, 204, 204]);
    expect([gateway, other].flatMap(({ probe }) => probe.calls('abortMultipartUpload'))).toHaveLength(1);
  });

  describe.each(['the same gateway', 'two gateways'])('on %s', (where) => {
    const second = () => (where === 'two gateways' ? other : gateway);

    test('ends a part that hangs', async () => {
      const { id } = await gateway.client.create({ key: `hangs on ${where}`, size: 6 });
      const { exchange, call } = await sendHalf(gateway, id, 1, bytesOf(6));
      expect((await abort(id, second())).status).toBe(204);
      await refused(exchange.answer, 410, 'upload_gone');
      expect(await call.ended).toMatchObject({ status: 'rejected' });
    });

    test('does not let a part count that the store confirms afterwards', async () => {
      const { id } = await gateway.client.create({ key: `confirmed on ${where}`, size: 3 });
      const { exchange, release } = await sendHeld(gateway, id, 1, bytesOf(3));
      expect((await abort(id, second())).status).toBe(204);
      release();
      await refused(exchange.answer, 410, 'upload_gone');
      expect(await gateway.client.listParts(id)).toMatchObject({ parts: [] });
    });
  });

  test('is taken up again where the store was away', async () => {
    const { id } = await gateway.client.create({ key: 'away', size: 3 });
    const restore = gateway.probe.before('abortMultipartUpload', () => {
      throw new StoreError('unavailable', 'the connection was refused');
    });
    try {
      expect(await refused(abort(id), 503, 'store_unavailable')).toMatchObject({ retryAfter: 2 });
      expect(await gateway.client.look(id)).toMatchObject({ state: 'aborting' });
      await refused(gateway.client.request('PUT', `/uploads/${id}/parts/1`, bytesOf(3)), 410, 'upload_gone');
    } finally {
      restore();
    }
    expect((await abort(id)).status).toBe(204);
    expect(await gateway.client.look(id)).toMatchObject({ state: 'aborted' });
  });
});
