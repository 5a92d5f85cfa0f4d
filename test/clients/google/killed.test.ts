import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import { CRC32C, Storage } from '@google-cloud/storage';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { hashesOf } from '../../protocols/google/google-client.ts';
import { bytesOf } from '../../protocols/rest/rest-client.ts';
import { type FaultProxy, startFaultProxy } from '../../support/fault-proxy.ts';
import { startTestGateway, storeSettings, type TestGateway } from '../../support/gateway.ts';
import { createTestDatabase, type TestDatabase } from '../../support/postgres.ts';
import { runPython, usePython } from '../../support/python.ts';
import { createBucket, useMinio } from '../../support/stores.ts';

const KiB = 1024;
const MiB = 1024 ** 2;
const script = fileURLToPath(new URL('upload.py', import.meta.url));
const python = await usePython();
const minio = await useMinio();

describe.skipIf(minio === undefined)("an upload of Google's clients, the gateway killed in its middle,", () => {
  let database: TestDatabase;
  let gateway: TestGateway;
  let proxy: FaultProxy;
  let bucket: string;
  let folder: string;

  beforeAll(async () => {
    database = await createTestDatabase();
    bucket = await createBucket(minio!);
    gateway = await startTestGateway({
      env: {
        DATABASE_URL: database.url,
        PARTWAY_READ_OBJECTS: 'true',
        PARTWAY_LOG_LEVEL: 'error',
        ...storeSettings(minio!, bucket),
      },
    });
    proxy = await startFaultProxy({ target: gateway.url });
    folder = await mkdtemp(join(tmpdir(), 'partway-google-'));
  });

  afterAll(async () => {
    await proxy?.stop();
    await gateway?.stop();
    await database?.drop();
    if (folder !== undefined) await rm(folder, { recursive: true, force: true });
  });

  beforeEach(() => proxy.clear());

  /** Kills the gateway while the chunk that begins there is half sent, and starts it again. */
  async function killAt(offset: number, afterBytes: number): Promise<void> {
    const range = `bytes ${offset}-`;
    const rule = proxy.rule({
      match: ({ headers }) => headers.get('content-range')?.startsWith(range) ?? false,
      times: 1,
      fault: { kind: 'stall', at: { on: 'request', afterBytes } },
    });
    await rule.reached;
    await gateway.restart();
    proxy.clear();
  }

  async function expectObject(name: string, bytes: Buffer): Promise<void> {
    const answer = await fetch(`${gateway.url}/objects/${name}`);
    expect(Buffer.from(await answer.arrayBuffer()).equals(bytes)).toBe(true);
  }

  test.skipIf(python === undefined).each([
    [256 * KiB, 'md5'],
    [8 * MiB, 'crc32c'],
  ] as const)("goes on with Python's in chunks of %d bytes, with %s", async (chunkBytes, checksum) => {
    const name = `python-${chunkBytes}`;
    const bytes = bytesOf(20 * MiB + 3, name);
    const path = join(folder, name);
    await writeFile(path, bytes);
    const [{ code, output }] = await Promise.all([
      runPython(python!, [script, proxy.url, bucket, name, path, String(chunkBytes), checksum, 'known']),
      killAt(8 * MiB, chunkBytes / 2),
    ]);
    expect(`${code} ${code === 0 ? '' : output}`).toBe('0 ');
    expect(JSON.parse(output.trim().split('\n').at(-1)!)).toMatchObject({ object: hashesOf(bytes) });
    await expectObject(name, bytes);
  });

  // By its URI: of its own accord this client goes on only where the gateway is back before it asks.
  test("goes on with Node's, as a new stream to the URI", async () => {
    const bytes = bytesOf(20 * MiB + 3, 'node');
    const storage = new Storage({ apiEndpoint: proxy.url, projectId: 'test' });
    const file = storage.bucket(bucket).file('node');
    const first = file.createWriteStream({ resumable: true, chunkSize: MiB });
    const uri = new Promise<string>((resolve) => first.on('uri', resolve));
    const [broken] = await Promise.allSettled([
      pipeline(Readable.from([bytes], { objectMode: false }), first),
      killAt(9 * MiB, MiB / 2),
    ]);
    expect(broken.status).toBe('rejected');
    const asked = await fetch(await uri, { method: 'PUT', headers: { 'content-range': 'bytes */*' } });
    expect(asked.status).toBe(308);
    const offset = Number(asked.headers.get('range')?.split('-')[1]) + 1;
    expect(offset).toBeGreaterThanOrEqual(9 * MiB);
    const resumeCRC32C = new CRC32C();
    resumeCRC32C.update(bytes.subarray(0, offset));
    const second = file.createWriteStream({
      resumable: true,
      chunkSize: MiB,
      uri: await uri,
      offset,
      resumeCRC32C: resumeCRC32C.toString(),
      preconditionOpts: { ifGenerationMatch: 0 },
    });
    await pipeline(Readable.from([bytes.subarray(offset)], { objectMode: false }), second);
    expect(file.metadata).toMatchObject(hashesOf(bytes));
    await expectObject('node', bytes);
  });
});
