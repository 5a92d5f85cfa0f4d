import { randomBytes } from 'node:crypto';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { readSettings } from '../../src/config.ts';
import { type Gateway, startGateway } from '../../src/gateway.ts';
import { createS3Store } from '../../src/stores/s3/s3-store.ts';
import { ChunkClient, chunksOf } from '../support/chunk-client.ts';
import { type Fault, type FaultProxy, type ProxiedRequest, startFaultProxy } from '../support/fault-proxy.ts';
import { storeSettings } from '../support/gateway.ts';
import { createTestDatabase, type TestDatabase } from '../support/postgres.ts';
import { TestReaper } from '../support/remains.ts';
import { createBucket, type TestStore, useMinio, useRgw } from '../support/stores.ts';
import { readStored, unfinished } from './stored-object.ts';
import { sha256 } from './upload-client.ts';

const KiB = 1024;
const MiB = 1024 * KiB;

const stores = [
  ['MinIO', await useMinio()],
  ['Ceph RGW', await useRgw()],
] as const;

const isStaged = ({ path }: ProxiedRequest) => path.includes('/.partway/');
const isFragment = (request: ProxiedRequest) => request.method === 'PUT' && isStaged(request);
const isReadBack = (request: ProxiedRequest) => request.method === 'GET' && isStaged(request);
const isUploadPart = ({ method, query }: ProxiedRequest) => method === 'PUT' && query.has('partNumber');
const isDelete = ({ method, query }: ProxiedRequest) => method === 'POST' && query.has('delete');
const isComplete = ({ method, query }: ProxiedRequest) => method === 'POST' && query.has('uploadId');

/** Small enough for a slot to be made of them, and large enough to be parts themselves. */
const small = { chunkBytes: 3 * MiB, file: randomBytes(12 * MiB + 100 * KiB) };
const large = { chunkBytes: 5 * MiB, file: randomBytes(10 * MiB + 1000) };

interface Call {
  readonly name: string;
  readonly match: (request: ProxiedRequest) => boolean;
  readonly upload: typeof small;
  /** How often it fails: more often than the gateway itself tries again, for each of two slots where these go side by side. */
  readonly times: number;
  /** Chunk after chunk goes to another replica: what a slot is made of has to be read back. */
  readonly hops: boolean;
  /** Where there are bytes for a fault to strike within. */
  readonly bodyIn: 'request' | 'answer' | 'xml answer';
}

const calls: readonly Call[] = [
  { name: 'PutObject of a fragment', match: isFragment, upload: small, times: 4, hops: true, bodyIn: 'request' },
  {
    name: 'UploadPart of a slot piped through',
    match: isUploadPart,
    upload: large,
    times: 4,
    hops: false,
    bodyIn: 'request',
  },
  {
    name: 'UploadPart of a composed slot',
    match: isUploadPart,
    upload: small,
    times: 7,
    hops: false,
    bodyIn: 'request',
  },
  { name: 'GetObject of a fragment', match: isReadBack, upload: small, times: 7, hops: true, bodyIn: 'answer' },
  { name: 'DeleteObjects', match: isDelete, upload: small, times: 7, hops: false, bodyIn: 'xml answer' },
  { name: 'CompleteMultipartUpload', match: isComplete, upload: small, times: 4, hops: false, bodyIn: 'xml answer' },
];

const anywhere: readonly (readonly [string, Fault])[] = [
  ['is reset before the store hears of it', { kind: 'reset' }],
  ['is reset before its answer', { kind: 'reset', at: { on: 'answer' } }],
  ['stalls before the store hears of it', { kind: 'stall' }],
  ['stalls before its answer', { kind: 'stall', at: { on: 'answer' } }],
  ['is done and its answer lost', { kind: 'dropAnswer' }],
  ['is answered 500', { kind: 'answer', status: 500 }],
  ['is answered 503', { kind: 'answer', status: 503 }],
  ['is answered 503 before its body', { kind: 'answer', status: 503, readBody: false }],
  ['is answered 507', { kind: 'answer', status: 507 }],
];
const afterBytes = 70_000;
const within: Readonly<Record<Call['bodyIn'], readonly (readonly [string, Fault])[]>> = {
  request: [
    ['is reset within its body', { kind: 'reset', at: { on: 'request', afterBytes } }],
    ['stalls within its body', { kind: 'stall', at: { on: 'request', afterBytes } }],
    ['gets its body cut', { kind: 'truncate', at: { on: 'request', afterBytes } }],
  ],
  answer: [
    ['is reset within the bytes', { kind: 'reset', at: { on: 'answer', afterBytes } }],
    ['stalls within the bytes', { kind: 'stall', at: { on: 'answer', afterBytes } }],
    ['ends within the bytes', { kind: 'truncate', at: { on: 'answer', afterBytes } }],
  ],
  'xml answer': [['gets its answer cut', { kind: 'truncate', at: { on: 'answer', afterBytes: 20 } }]],
};

describe.each(stores)('ranges over %s behind a line that breaks', (_name, found) => {
  describe.runIf(found)('the gateway', () => underFaults(found!));
});

function underFaults(store: TestStore): void {
  let started: AsyncDisposableStack;
  let database: TestDatabase;
  let proxy: FaultProxy;
  let replicas: readonly Gateway[];
  let reaper: TestReaper;
  let bucket: string;
  let key: string;
  let uploads = 0;

  beforeAll(async () => {
    started = new AsyncDisposableStack();
    database = await createTestDatabase();
    started.defer(() => database.drop());
    bucket = await createBucket(store);
    proxy = await startFaultProxy({ target: store.endpoint });
    started.defer(() => proxy.stop());
    reaper = started.use(new TestReaper({ store, bucket, databaseUrl: database.url }));
    replicas = [await startReplica(), await startReplica()];
  });

  afterAll(() => started.disposeAsync());

  beforeEach(() => {
    key = `object-${++uploads}`;
  });

  afterEach(() => proxy.clear());

  /** A gateway that gives a silent store up soon. */
  async function startReplica(): Promise<Gateway> {
    const settings = readSettings({
      PARTWAY_PORT: '0',
      PARTWAY_LOG_LEVEL: 'error',
      PARTWAY_SHUTDOWN_GRACE: '1s',
      DATABASE_URL: database.url,
      ...storeSettings(store, bucket, proxy.url),
    });
    const gateway = await startGateway(settings, {
      wrapStore: ({ limits }) => {
        const impatient = createS3Store({
          endpoint: proxy.url,
          region: 'us-east-1',
          accessKeyId: store.accessKeyId,
          secretAccessKey: store.secretAccessKey,
          forcePathStyle: true,
          limits,
          timeouts: { idleMs: 500, commitIdleMs: 1_500 },
        });
        started.defer(() => impatient.close());
        return impatient;
      },
      coreSettings: { leaseMs: 3_000 },
    });
    started.defer(() => gateway.stop());
    return gateway;
  }

  function clientOf(file: Buffer<ArrayBuffer>, { hops }: { readonly hops: boolean }): ChunkClient {
    let requests = 0;
    return new ChunkClient(file, () => `${replicas[hops ? requests++ % 2 : 0]!.url}/objects/${key}`);
  }

  async function expectObject(file: Buffer): Promise<void> {
    expect(sha256(await readStored(store, bucket, key))).toBe(sha256(file));
    expect(await unfinished(store, bucket, key)).toEqual([]);
    proxy.clear();
    await reaper.reapAll();
  }

  describe.each(calls)('$name', ({ match, upload, times, hops, bodyIn }) => {
    test.each([...anywhere, ...within[bodyIn]])('%s', async (_, fault) => {
      const client = clientOf(upload.file, { hops });
      const rule = proxy.rule({ match, times, fault });
      const last = await client.sendAll(upload.chunkBytes);
      expect(last?.state).toBe('completed');
      await rule.reached;
      await expectObject(upload.file);
    });
  });

  test('a fragment that lands after it was given up leaves nothing', async () => {
    const file = randomBytes(300 * KiB);
    const client = clientOf(file, { hops: false });
    const rule = proxy.rule({ match: isFragment, times: 1, fault: { kind: 'hold', at: { on: 'request' } } });
    const last = await client.sendAll(100 * KiB);
    expect(last?.state).toBe('completed');
    await proxy.waitFor((request) => isDelete(request) && request.end === 'answered');
    const held = await rule.reached;
    rule.release();
    await proxy.waitFor((request) => request === held && request.end !== undefined);
    expect(held.status).toBe(200);
    await expectObject(file);
  });

  test('a part that lands after it was sent again changes nothing', async () => {
    const client = clientOf(large.file, { hops: false });
    const chunks = chunksOf(large.file, large.chunkBytes);
    const rule = proxy.rule({ match: isUploadPart, times: 1, fault: { kind: 'hold', at: { on: 'answer' } } });
    await client.sendUntilStored(chunks[0]!);
    await rule.reached;
    rule.release();
    for (const chunk of chunks) await client.sendUntilStored(chunk);
    await expectObject(large.file);
  });
}
