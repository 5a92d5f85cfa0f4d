import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type Fault, type FaultProxy, type ProxiedRequest, startFaultProxy } from '../support/fault-proxy.ts';
import { startTestGateway, storeSettings, type TestGateway } from '../support/gateway.ts';
import { createTestDatabase, type TestDatabase } from '../support/postgres.ts';
import { createBucket, type TestStore, useMinio, useRgw } from '../support/stores.ts';
import { readStored, unfinished } from './stored-object.ts';
import {
  abort,
  carryOn,
  complete,
  content,
  createUpload,
  listParts,
  persist,
  putPart,
  sha256,
} from './upload-client.ts';

const stores = [
  ['MinIO', await useMinio()],
  ['Ceph RGW', await useRgw()],
] as const;

const isUploadPart = ({ method, query }: ProxiedRequest) => method === 'PUT' && query.has('partNumber');
const isComplete = ({ method, query }: ProxiedRequest) => method === 'POST' && query.has('uploadId');
const isAbort = ({ method, query }: ProxiedRequest) => method === 'DELETE' && query.has('uploadId');
const isHead = ({ method, path }: ProxiedRequest) => method === 'HEAD' && path.split('/').length > 2;

const inPart: readonly (readonly [string, Fault])[] = [
  ['is reset before it hears of it', { kind: 'reset' }],
  ['is reset in the middle', { kind: 'reset', at: { on: 'request', afterBytes: 3_000_000 } }],
  ['is reset before it answers', { kind: 'reset', at: { on: 'answer' } }],
  ['stores it and its answer is lost', { kind: 'dropAnswer' }],
  ['answers 500', { kind: 'answer', status: 500 }],
  ['answers 503', { kind: 'answer', status: 503 }],
  ['answers 503 without reading the body', { kind: 'answer', status: 503, readBody: false }],
  ['is full', { kind: 'answer', status: 507 }],
  ['cuts the body', { kind: 'truncate', at: { on: 'request', afterBytes: 3_000_000 } }],
];

describe.each(stores)('%s behind a line that breaks', (_name, found) => {
  describe.runIf(found)('the gateway', () => underFaults(found!));
});

function underFaults(store: TestStore): void {
  let database: TestDatabase;
  let proxy: FaultProxy;
  let gateway: TestGateway;
  let bucket: string;
  let key: string;
  let uploads = 0;

  beforeAll(async () => {
    database = await createTestDatabase();
    bucket = await createBucket(store);
    proxy = await startFaultProxy({ target: store.endpoint });
    gateway = await startTestGateway({
      env: { DATABASE_URL: database.url, ...storeSettings(store, bucket, proxy.url) },
    });
  });

  afterAll(async () => {
    await gateway.stop();
    await proxy.stop();
    await database.drop();
  });

  beforeEach(() => {
    key = `object-${++uploads}`;
  });

  afterEach(() => proxy.clear());

  async function expectObject(): Promise<void> {
    expect(sha256(await readStored(store, bucket, key))).toBe(sha256(content));
    expect(await unfinished(store, bucket, key)).toEqual([]);
  }

  async function createFull(): Promise<string> {
    const { id } = await createUpload(gateway.url, key);
    for (const partNumber of [1, 2, 3]) expect((await putPart(gateway.url, id, partNumber)).status).toBe(200);
    return id;
  }

  test.each(inPart)('a part while the store %s is refused with a fault, and can be sent again', async (_, fault) => {
    const { id } = await createUpload(gateway.url, key);
    proxy.rule({ match: isUploadPart, times: 1, fault });
    const answer = await putPart(gateway.url, id, 2);
    expect([503, 507]).toContain(answer.status);
    expect((await listParts(gateway.url, id)).parts).toEqual([]);
    expect((await carryOn(gateway.url, id)).status).toBe(200);
    await expectObject();
  });

  test.each(inPart)('a good part stays as it was when sent again while the store %s', async (_, fault) => {
    const id = await createFull();
    const before = await listParts(gateway.url, id);
    proxy.rule({ match: isUploadPart, times: 1, fault });
    expect((await putPart(gateway.url, id, 1)).status).toBeGreaterThanOrEqual(500);
    expect(await listParts(gateway.url, id)).toEqual(before);
    expect((await carryOn(gateway.url, id)).status).toBe(200);
    await expectObject();
  });

  test("Complete's answer is lost: the call, and a second, get the same 200", async () => {
    const id = await createFull();
    proxy.rule({ match: isComplete, times: 1, fault: { kind: 'dropAnswer' } });
    const first = await complete(gateway.url, id);
    const second = await complete(gateway.url, id);
    expect([first.status, second.status]).toEqual([200, 200]);
    expect(await second.json()).toEqual(await first.json());
    await expectObject();
  });

  test("Complete's answer is lost and the store goes away: finished is said only when the store is back", async () => {
    const id = await createFull();
    proxy.rule({ match: isComplete, times: 1, fault: { kind: 'dropAnswer' } });
    const away = proxy.rule({ match: isHead, fault: { kind: 'reset' } });
    const first = await complete(gateway.url, id);
    expect(first.status).toBe(503);
    expect(first.headers.get('retry-after')).not.toBeNull();
    expect((await abort(gateway.url, id)).status).toBe(409);
    away.remove();
    const second = await persist(() => complete(gateway.url, id));
    expect(second.status).toBe(200);
    await expectObject();
  });

  test.each<readonly [string, Fault]>([
    ['answers 500', { kind: 'answer', status: 500 }],
    ['answers 503', { kind: 'answer', status: 503 }],
    ['is reset', { kind: 'reset' }],
    [
      'answers 200 and then an error',
      {
        kind: 'answer',
        status: 200,
        body: '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>InternalError</Code><Message>later</Message></Error>\n',
      },
    ],
    ['cuts its answer', { kind: 'truncate', at: { on: 'answer', afterBytes: 20 } }],
  ])('Complete while the store %s is tried again', async (_, fault) => {
    const id = await createFull();
    proxy.rule({ match: isComplete, times: 1, fault });
    const answer = await persist(() => complete(gateway.url, id));
    expect(answer.status).toBe(200);
    await expectObject();
  });

  test('an abort whose answer is lost is repeated, and leaves nothing', async () => {
    const id = await createFull();
    proxy.rule({ match: isAbort, times: 3, fault: { kind: 'dropAnswer' } });
    const answer = await persist(() => abort(gateway.url, id));
    expect(answer.status).toBe(204);
    expect(await unfinished(store, bucket, key)).toEqual([]);
  });
}
