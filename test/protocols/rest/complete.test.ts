import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { StoreError, type StoreErrorKind } from '../../../src/core/object-store.ts';
import type { UploadRecords } from '../../../src/core/upload-records.ts';
import { Intercepted } from '../../core/intercept.ts';
import { sendHalf, sendHeld } from './hanging-part.ts';
import { bytesOf, refused } from './rest-client.ts';
import { availableStores, type RestGateway, startRestGateway } from './rest-gateway.ts';

const MiB = 1024 ** 2;
const partSize = 5 * MiB;

describe.each(await availableStores())('completing on %s', (store) => {
  let gateway: RestGateway;
  let other: RestGateway;
  const records = new Map<RestGateway, Intercepted<UploadRecords>>();

  beforeAll(async () => {
    gateway = await start();
    other = await start(gateway);
  });

  afterAll(async () => {
    await other?.stop();
    await gateway.stop();
  });

  afterEach(() => {
    for (const intercepted of records.values()) intercepted.reset();
  });

  async function start(beside?: RestGateway): Promise<RestGateway> {
    let intercepted: Intercepted<UploadRecords> | undefined;
    const started = await startRestGateway(store, {
      ...(beside && { beside }),
      wrapRecords: (real) => {
        intercepted = new Intercepted(real);
        return intercepted.port;
      },
    });
    records.set(started, intercepted!);
    return started;
  }

  /** Resolves when the gateway has called the records so, and they have answered. */
  function called(at: RestGateway, method: 'takeClaim' | 'claimCompletion'): Promise<void> {
    return new Promise((resolve) => {
      records.get(at)!.always<never>(
        method as never,
        (async (proceed: () => Promise<unknown>) => {
          const answer = await proceed();
          resolve();
          return answer;
        }) as never,
      );
    });
  }

  const complete = (id: string, body?: unknown, at = gateway) =>
    at.client.request('POST', `/uploads/${id}/complete`, body);

  /** An upload of one part that waits only for its completion. */
  async function createWhole(key: string, text: string, more: { ifNoneMatch?: '*' } = {}) {
    const { id } = await gateway.client.create({ key, size: text.length, ...more });
    const { etag } = await gateway.client.putPart(id, 1, Buffer.from(text));
    return { id, etag };
  }

  test('makes the object, and tells the same again', async () => {
    const { id } = await createWhole('folder/a b', 'abc');
    const completed = await gateway.client.complete(id);
    expect(completed).toMatchObject({
      state: 'completed',
      size: 3,
      offset: 3,
      location: `/objects/folder/a%20b?bucket=${gateway.bucket}`,
      completedAt: expect.any(String),
    });
    gateway.probe.forget();
    expect(await gateway.client.complete(id)).toEqual(completed);
    expect(await gateway.client.complete(id, {})).toEqual(completed);
    expect(await other.client.complete(id)).toEqual(completed);
    expect(gateway.probe.calls('completeMultipartUpload')).toEqual([]);
    const object = await gateway.client.wire.send({ method: 'GET', path: completed.location! });
    expect(object).toMatchObject({ text: 'abc', headers: { etag: completed.etag } });
  });

  test('names what is missing, and goes on once it is there', async () => {
    const { id } = await gateway.client.create({ key: 'missing', size: 2 * partSize + 3, partSize });
    await gateway.client.putPart(id, 2, bytesOf(partSize));
    gateway.probe.forget();
    expect(await refused(complete(id), 409, 'incomplete')).toMatchObject({
      receivedBytes: partSize,
      expectedSize: 2 * partSize + 3,
      missing: [
        { partNumber: 1, offset: 0, size: partSize },
        { partNumber: 3, offset: 2 * partSize, size: 3 },
      ],
    });
    expect(gateway.probe.calls()).toEqual([]);
    await gateway.client.putPart(id, 1, bytesOf(partSize));
    await gateway.client.putPart(id, 3, bytesOf(3));
    expect(await gateway.client.complete(id)).toMatchObject({ size: 2 * partSize + 3 });
  });

  test('holds the upload to the parts that the client names', async () => {
    const { id } = await gateway.client.create({ key: 'named', size: partSize + 3, partSize });
    const [first, second] = [
      await gateway.client.putPart(id, 1, bytesOf(partSize)),
      await gateway.client.putPart(id, 2, bytesOf(3)),
    ].map(({ partNumber, etag }) => ({ partNumber, etag }));
    const wrong = { partNumber: 2, etag: first!.etag };
    for (const [parts, differing, unnamed] of [
      [[first, wrong], [2], []],
      [[first], [], [2]],
      [[first, second, { partNumber: 3, etag: '"x"' }], [3], []],
      [[], [], [1, 2]],
    ]) {
      const problem = await refused(complete(id, { parts }), 409, 'state_conflict');
      expect(problem).toMatchObject({ differing, unnamed });
    }
    expect(await gateway.client.look(id)).toMatchObject({ state: 'open' });
    const unquoted = { partNumber: 2, etag: second!.etag.replaceAll('"', '') };
    await gateway.client.complete(id, { parts: [unquoted, first] });
    await gateway.client.complete(id, { parts: [first, second] });
    await refused(complete(id, { parts: [first, wrong] }), 409, 'state_conflict');
  });

  test('holds the upload to the size that the client names', async () => {
    const { id } = await createWhole('sized', 'abc');
    for (const size of [0, 2, 4]) {
      expect(await refused(complete(id, { size }), 409, 'state_conflict')).toMatchObject({ expectedSize: 3 });
    }
    await gateway.client.complete(id, { size: 3 });
    await refused(complete(id, { size: 4 }), 409, 'state_conflict');
    await gateway.client.complete(id, { size: 3 });
  });

  test('of an aborted upload, or of none, is refused', async () => {
    const { id } = await createWhole('aborted', 'abc');
    await gateway.client.request('DELETE', `/uploads/${id}`);
    expect(await refused(complete(id), 410, 'upload_gone')).toMatchObject({ reason: 'requested' });
    await refused(complete('no-such-upload'), 404, 'upload_not_found');
    await refused(gateway.client.read('aborted'), 404, 'object_not_found');
  });

  describe.each(['the same gateway', 'two gateways'])('on %s', (where) => {
    const second = () => (where === 'two gateways' ? other : gateway);

    test('twice at once asks the store once, and both get the same', async () => {
      const { id } = await createWhole(`at once on ${where}`, 'abc');
      gateway.probe.forget();
      other.probe.forget();
      const { reached, release } = gateway.probe.hold('completeMultipartUpload');
      const first = gateway.client.complete(id);
      await reached;
      expect(await other.client.look(id)).toMatchObject({ state: 'completing' });
      const waits = called(second(), 'takeClaim');
      const again = second().client.complete(id);
      await waits;
      release();
      expect(await again).toEqual(await first);
      const calls = [gateway, other].flatMap(({ probe }) => probe.calls('completeMultipartUpload'));
      expect(calls).toHaveLength(1);
    });

    test('two uploads to one key come one after the other, and the later one stays', async () => {
      const key = `one key on ${where}`;
      const [earlier, later] = [await createWhole(key, 'earlier'), await createWhole(key, 'later')];
      const { reached, release } = gateway.probe.hold('completeMultipartUpload');
      const first = gateway.client.complete(earlier.id);
      await reached;
      const waits = called(second(), 'claimCompletion');
      const next = second().client.complete(later.id);
      await waits;
      expect(await gateway.client.look(later.id)).toMatchObject({ state: 'open' });
      release();
      expect(await first).toMatchObject({ state: 'completed' });
      expect(await next).toMatchObject({ state: 'completed' });
      expect((await gateway.client.read(key)).text).toBe('later');
    });

    test('ends a good part’s being sent again, where that hangs', async () => {
      const key = `hangs on ${where}`;
      const { id } = await createWhole(key, 'abcdef');
      const { exchange, call } = await sendHalf(second(), id, 1, Buffer.from('ABCDEF'));
      await gateway.client.complete(id);
      expect((await exchange.answer).status).toBe(409);
      expect(await call.ended).toMatchObject({ status: 'rejected' });
      expect((await gateway.client.read(key)).text).toBe('abcdef');
    });

    test('waits for a part that the store is confirming', async () => {
      const key = `confirming on ${where}`;
      const { id } = await createWhole(key, 'abcdef');
      const { exchange, release } = await sendHeld(second(), id, 1, Buffer.from('ABCDEF'));
      const waits = called(gateway, 'claimCompletion');
      const completed = gateway.client.complete(id);
      await waits;
      expect(await gateway.client.look(id)).toMatchObject({ state: 'open' });
      release();
      expect(await exchange.answer).toMatchObject({ status: 200 });
      expect(await completed).toMatchObject({ state: 'completed' });
      expect((await gateway.client.read(key)).text).toBe('ABCDEF');
    });

    test('is answered 202 where the store takes longer than a client waits', async () => {
      const { id } = await createWhole(`longer on ${where}`, 'abc');
      const { reached, release } = gateway.probe.hold('completeMultipartUpload');
      const first = gateway.client.complete(id);
      try {
        await reached;
        const waits = called(second(), 'takeClaim');
        const again = complete(id, undefined, second());
        await waits;
        vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + 60_000 });
        const answer = await again;
        expect(answer).toMatchObject({ status: 202, headers: { 'retry-after': '2' } });
        expect(JSON.parse(answer.text)).toMatchObject({ id, state: 'completing' });
      } finally {
        vi.useRealTimers();
        release();
      }
      const completed = await first;
      expect(await second().client.complete(id)).toEqual(completed);
    });
  });

  test('only if nothing is there leaves what is there, and the upload as it was', async () => {
    const { id } = await createWhole('taken', 'late', { ifNoneMatch: '*' });
    await gateway.client.complete((await createWhole('taken', 'there')).id);
    await refused(complete(id), 412, 'precondition_failed');
    expect((await gateway.client.read('taken')).text).toBe('there');
    expect(await gateway.client.look(id)).toMatchObject({ state: 'open', receivedBytes: 4 });
    await refused(complete(id), 412, 'precondition_failed');
    expect((await gateway.client.request('DELETE', `/uploads/${id}`)).status).toBe(204);
    expect((await gateway.client.read('taken')).text).toBe('there');
  });

  test('only if nothing is there lets one of two win', async () => {
    const rivals = [
      await createWhole('rivals', 'first', { ifNoneMatch: '*' }),
      await createWhole('rivals', 'second', { ifNoneMatch: '*' }),
    ];
    const answers = await Promise.all(
      rivals.map(({ id }, index) => complete(id, undefined, index === 0 ? gateway : other)),
    );
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 412]);
    const text = answers[0]!.status === 200 ? 'first' : 'second';
    expect((await gateway.client.read('rivals')).text).toBe(text);
  });

  describe('where the store’s answer is lost', () => {
    const lose = (kind: StoreErrorKind = 'unavailable') =>
      gateway.probe.after('completeMultipartUpload', () => {
        throw new StoreError(kind, 'not the answer that the store gave');
      });

    test.each<[StoreErrorKind, { ifNoneMatch?: '*' }]>([
      ['unavailable', {}],
      ['unavailable', { ifNoneMatch: '*' }],
      // As when something on the way has sent the request twice: the second finds the object of the first.
      ['precondition_failed', { ifNoneMatch: '*' }],
      ['no_such_upload', {}],
    ])('knows its own object again behind %s, with %o', async (kind, more) => {
      const key = `lost ${kind} ${JSON.stringify(more)}`;
      const { id } = await createWhole(key, 'abc', more);
      gateway.probe.forget();
      const find = lose(kind);
      try {
        expect(await gateway.client.complete(id)).toMatchObject({ state: 'completed' });
      } finally {
        find();
      }
      expect(gateway.probe.calls('completeMultipartUpload')).toHaveLength(1);
      expect((await gateway.client.read(key)).text).toBe('abc');
    });

    test('and the store then away, the next request finds what became of it', async () => {
      const { id } = await createWhole('away', 'abc', { ifNoneMatch: '*' });
      gateway.probe.forget();
      const restore = [
        lose(),
        gateway.probe.before('headObject', () => {
          throw new StoreError('unavailable', 'the connection was refused');
        }),
      ];
      try {
        const problem = await refused(complete(id), 503, 'store_unavailable');
        expect(problem).toMatchObject({ retryAfter: 2 });
        expect(await gateway.client.look(id)).toMatchObject({ state: 'completing' });
      } finally {
        for (const undo of restore) undo();
      }
      expect(await other.client.complete(id)).toMatchObject({ state: 'completed' });
      expect(other.probe.calls('completeMultipartUpload')).not.toContainEqual(
        expect.objectContaining({ input: expect.objectContaining({ key: 'away' }) }),
      );
      expect((await gateway.client.read('away')).text).toBe('abc');
    });
  });
});
