import { randomBytes } from 'node:crypto';
import { request } from 'node:http';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { expectDone, GoogleClient } from '../protocols/google/google-client.ts';
import { type ByteRange, ChunkClient, chunksOf, until } from '../support/chunk-client.ts';
import { type FaultProxy, type ProxiedRequest, startFaultProxy } from '../support/fault-proxy.ts';
import { startTestGateway, storeSettings, type TestGateway } from '../support/gateway.ts';
import { createTestDatabase, type TestDatabase } from '../support/postgres.ts';
import { TestReaper } from '../support/remains.ts';
import { createBucket, useMinio } from '../support/stores.ts';
import { readStored, unfinished } from './stored-object.ts';
import { sha256 } from './upload-client.ts';

const MiB = 1024 ** 2;
const minio = await useMinio();

const isFragment = ({ method, path }: ProxiedRequest) => method === 'PUT' && path.includes('/.partway/');
const isUploadPart = ({ method, query }: ProxiedRequest) => method === 'PUT' && query.has('partNumber');
const isComplete = ({ method, query }: ProxiedRequest) => method === 'POST' && query.has('uploadId');

describe.runIf(minio)('two gateways over one database and one store', () => {
  const store = minio!;
  let started: AsyncDisposableStack;
  let database: TestDatabase;
  let proxy: FaultProxy;
  let replicas: readonly TestGateway[];
  let reaper: TestReaper;
  let db: pg.Client;
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
    db = new pg.Client(database.url);
    await db.connect();
    started.defer(() => db.end());
    reaper = started.use(new TestReaper({ store, bucket, databaseUrl: database.url }));
    const env = { DATABASE_URL: database.url, ...storeSettings(store, bucket, proxy.url) };
    replicas = await Promise.all([startTestGateway({ env }), startTestGateway({ env })]);
    for (const replica of replicas) started.defer(async () => void (await replica.stop()));
  });

  afterAll(() => started.disposeAsync());

  beforeEach(() => {
    key = `object-${++uploads}`;
  });

  afterEach(() => proxy.clear());

  function urlAt(replica: number): string {
    return `${replicas[replica % 2]!.url}/objects/${key}`;
  }

  function clientAt(replica: number, file: Buffer<ArrayBuffer>): ChunkClient {
    return new ChunkClient(file, () => urlAt(replica));
  }

  async function expectObject(file: Buffer): Promise<void> {
    expect(sha256(await readStored(store, bucket, key))).toBe(sha256(file));
    expect(await unfinished(store, bucket, key)).toEqual([]);
    expect(callsOf(isComplete)).toBe(1);
    await reaper.reapAll();
  }

  function callsOf(match: (request: ProxiedRequest) => boolean): number {
    return proxy.requests.filter((request) => request.path.endsWith(`/${key}`) && match(request)).length;
  }

  test.each([
    ['small ones', MiB],
    ['ones that are parts', 5 * MiB],
  ])('a client hops from one to the other with each chunk: %s', async (_, chunkBytes) => {
    const file = randomBytes(18 * MiB + 12_345);
    let requests = 0;
    const client = new ChunkClient(file, () => urlAt(requests++));
    const last = await client.sendAll(chunkBytes);
    expect(last?.state).toBe('completed');
    expect([...client.answers.keys()]).toEqual([200]);
    await expectObject(file);
  });

  test.each<readonly [string, readonly number[]]>([
    // Of chunks of 3 MiB three make a part.
    ['of one slot', [1, 2]],
    ['of one slot, which is the last', [3, 4]],
    ['of two slots', [0, 4]],
  ])(
    'the two last fragments, %s, are committed at the same moment on both: one completes',
    async (_, held) => {
      const file = randomBytes(12 * MiB + 4711);
      const chunks = chunksOf(file, 3 * MiB);
      for (let round = 1; round <= 5; round++) {
        key = `object-${++uploads}`;
        const client = clientAt(0, file);
        for (const [index, chunk] of chunks.entries()) if (!held.includes(index)) await client.sendUntilStored(chunk);
        // Both are at the store already, and its answers set out together.
        const rule = () => proxy.rule({ match: isFragment, times: 1, fault: { kind: 'hold', at: { on: 'answer' } } });
        const sent = [];
        const rules = [];
        for (const [replica, index] of held.entries()) {
          const one = rule();
          sent.push(clientAt(replica, file).send(chunks[index]!));
          await one.reached;
          rules.push(one);
        }
        for (const one of rules) one.release();
        const answers = await Promise.all(sent);
        // Undefined where one was not 200. The one that was first may not have known of the other.
        expect(answers).not.toContain(undefined);
        expect(answers.map((answer) => answer?.state)).toContain('completed');
        expect(callsOf(isUploadPart)).toBe(2);
        await expectObject(file);
        proxy.clear();
      }
    },
    120_000,
  );

  test.each([
    ['the same chunk', [4, 5]],
    ['a larger chunk', [3, 6]],
    ['a smaller chunk', [4.5, 4.75]],
    ['all the rest', [4, 9]],
  ] as const)('a chunk is expected at one, under way there and sent to the other: %s', async (_, [from, to]) => {
    const file = randomBytes(9 * MiB);
    const chunks = chunksOf(file, MiB);
    for (const chunk of chunks.slice(0, 4)) await clientAt(0, file).sendUntilStored(chunk);
    const answer = proxy.rule({ match: isFragment, times: 1, fault: { kind: 'hold', at: { on: 'answer' } } });
    const slow = clientAt(0, file).send(chunks[4]!);
    await answer.reached;
    await clientAt(1, file).sendUntilStored({ from: from * MiB, to: to * MiB });
    answer.release();
    await slow;
    await clientAt(1, file).sendMissing(MiB);
    await expectObject(file);
  });

  test.each([
    ['the same chunk', [4, 5]],
    ['a larger chunk', [4, 7]],
    ['one that reaches into it', [3.5, 4.5]],
    ['its part', [0, 8]],
  ] as const)('a chunk is expected at one, while an older request hangs at the other: %s', async (what, [from, to]) => {
    const file = randomBytes(17 * MiB);
    const chunks = chunksOf(file, MiB);
    const client = clientAt(0, file);
    let id = '';
    for (const chunk of chunks.slice(0, 4)) ({ id } = await client.sendUntilStored(chunk));
    const isPart = what === 'its part';
    const hanging = request(isPart ? `${replicas[1]!.url}/uploads/${id}/parts/1` : urlAt(1), {
      method: isPart ? 'PUT' : 'POST',
      agent: false,
      headers: {
        'content-length': String((to - from) * MiB),
        ...(isPart ? {} : { 'content-range': `bytes ${from * MiB}-${to * MiB - 1}/${file.length}` }),
      },
    });
    const ended = new Promise((resolve) => hanging.on('response', resolve).on('error', resolve));
    hanging.write(file.subarray(from * MiB, from * MiB + 100_000));
    await until('its lease', 10_000, async () => {
      const { rows } = await db.query(
        `select attempt_id from parts where upload_id = $1 and attempt_id is not null
           union all select attempt_id from fragments where upload_id = $1 and state = 'pending'`,
        [id],
      );
      return rows[0];
    });
    await client.sendUntilStored(chunks[4]!);
    expect([...client.answers.keys()]).toEqual([200]);
    await ended;
    await client.sendMissing(MiB);
    await expectObject(file);
  });

  test('writers on both send the same chunks from both ends', async () => {
    const file = randomBytes(18 * MiB + 12_345);
    const chunks = chunksOf(file, MiB);
    const sendEach = async (replica: number, order: readonly ByteRange[]) => {
      const client = clientAt(replica, file);
      for (const chunk of order) if ((await client.sendUntilStored(chunk)).state === 'completed') return;
    };
    // A first chunk that comes after the end would begin the file anew.
    const backwards = chunks.slice(1).reverse();
    await Promise.all([sendEach(0, chunks), sendEach(1, backwards), sendEach(1, chunks)]);
    await expectObject(file);
  });

  test('writers on both send chunks that overlap in part, and then what is missing', async () => {
    const file = randomBytes(18 * MiB + 12_345);
    const sendOnce = async (replica: number, chunkBytes: number) => {
      const client = clientAt(replica, file);
      for (const chunk of chunksOf(file, chunkBytes)) if ((await client.send(chunk))?.state === 'completed') break;
      return client.sendMissing(chunkBytes);
    };
    const ends = await Promise.all([sendOnce(0, MiB), sendOnce(1, 1.5 * MiB), sendOnce(0, 6 * MiB)]);
    expect(ends.map(({ state }) => state)).toEqual(['completed', 'completed', 'completed']);
    await expectObject(file);
  });

  test.each([0, 1])(
    'a client that asks at gateway %i while its PUT hangs at the first goes on behind all of it',
    async (asked) => {
      const file = randomBytes(9 * MiB);
      const [first, other] = replicas.map(({ url }) => new GoogleClient(url, bucket));
      const session = await first!.session(key);
      const hanging = first!.openPut(session, {
        'content-length': String(file.length),
        'content-range': `bytes 0-${file.length - 1}/${file.length}`,
      });
      await hanging.write(file.subarray(0, 3 * MiB));
      const asker = asked === 0 ? first! : other!;
      await until('all that was sent is held', 30_000, async () => {
        const { status, headers } = await asker.put(session, `bytes */${file.length}`);
        expect(status).toBe(308);
        return headers.range === `bytes=0-${3 * MiB - 1}` ? true : undefined;
      });
      // The one that hung goes on as if nothing had been.
      hanging.request.end(file.subarray(3 * MiB));
      expectDone(await hanging.answer, file);
      await expectObject(file);
      for (const client of [first!, other!]) client.close();
    },
  );
});
