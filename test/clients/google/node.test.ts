import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { CRC32C, type CreateWriteStreamOptions, type File, Storage } from '@google-cloud/storage';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { expectIncomplete, GoogleClient, hashesOf } from '../../protocols/google/google-client.ts';
import { bytesOf } from '../../protocols/rest/rest-client.ts';
import { availableStores, type RestGateway, startRestGateway } from '../../protocols/rest/rest-gateway.ts';
import { type FaultProxy, type ProxiedRequest, startFaultProxy } from '../../support/fault-proxy.ts';

const MiB = 1024 ** 2;
const store = (await availableStores()).at(-1)!;

describe('@google-cloud/storage', () => {
  let gateway: RestGateway;
  let proxy: FaultProxy;
  let client: GoogleClient;
  let storage: Storage;

  beforeAll(async () => {
    gateway = await startRestGateway(store);
    proxy = await startFaultProxy({ target: gateway.url });
    client = new GoogleClient(gateway.url, gateway.bucket);
    storage = new Storage({ apiEndpoint: proxy.url, projectId: 'test' });
  });

  afterAll(async () => {
    client?.close();
    await proxy?.stop();
    await gateway?.stop();
  });

  beforeEach(() => proxy.clear());

  const fileOf = (name: string): File => storage.bucket(gateway.bucket).file(name);

  /** Writes the bytes in pieces, as a stream of which nobody knows the length. */
  async function write(file: File, bytes: Buffer, options: CreateWriteStreamOptions): Promise<string | undefined> {
    let uri: string | undefined;
    const stream = file.createWriteStream({ resumable: true, validation: 'crc32c', ...options });
    stream.on('uri', (told: string) => {
      uri = told;
    });
    await pipeline(Readable.from(piecesOf(bytes), { objectMode: false }), stream);
    return uri;
  }

  async function expectUploaded(file: File, bytes: Buffer): Promise<void> {
    expect(file.metadata).toMatchObject({ size: bytes.length, ...hashesOf(bytes) });
    expect((await gateway.client.read(file.name)).bytes.equals(bytes)).toBe(true);
  }

  test.each([
    ['an unknown length, in one request', {}, 20 * MiB + 7],
    ['a known length, in one request', { metadata: { contentLength: 20 * MiB + 7 } }, 20 * MiB + 7],
    ['an unknown length, in chunks of 1 MiB', { chunkSize: MiB }, 10 * MiB + 7],
    ['a known length, in chunks of 8 MiB', { chunkSize: 8 * MiB, metadata: { contentLength: 20 * MiB } }, 20 * MiB],
    ['an unknown length, in chunks that end with it', { chunkSize: MiB }, 3 * MiB],
    ['no bytes, in one request', {}, 0],
    ['no bytes, in chunks', { chunkSize: MiB }, 0],
    ['md5 in place of crc32c', { validation: 'md5' }, 9 * MiB],
  ] as const)('uploads a stream of %s', async (what, options, total) => {
    const file = fileOf(what.replaceAll(' ', '-'));
    const bytes = bytesOf(total, what);
    await write(file, bytes, structuredClone(options) as CreateWriteStreamOptions);
    await expectUploaded(file, bytes);
  });

  test('uploads a file with its metadata', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'partway-google-'));
    const bytes = bytesOf(9 * MiB + 1, 'file');
    await writeFile(join(folder, 'note.txt'), bytes);
    const [file] = await storage.bucket(gateway.bucket).upload(join(folder, 'note.txt'), {
      destination: 'folder/note.txt',
      metadata: { metadata: { colour: 'blue' } },
    });
    await rm(folder, { recursive: true });
    await expectUploaded(file, bytes);
    expect(file.metadata).toMatchObject({ contentType: 'text/plain', metadata: { colour: 'blue' } });
  });

  test('does not replace an object that it was told must not be there', async () => {
    await write(fileOf('once'), Buffer.from('first'), {});
    const second = write(fileOf('once'), Buffer.from('second'), { preconditionOpts: { ifGenerationMatch: 0 } });
    await expect(second).rejects.toMatchObject({ code: 412 });
    expect((await gateway.client.read('once')).text).toBe('first');
  });

  const isData = ({ method, headers }: ProxiedRequest) =>
    method === 'PUT' && /^bytes \d/.test(headers.get('content-range') ?? '');
  const retries = { preconditionOpts: { ifGenerationMatch: 0 }, chunkSize: MiB };

  test.each([
    ['a chunk is cut off', { kind: 'reset', at: { on: 'request', afterBytes: 600 * 1024 } }],
    ['an answer is lost', { kind: 'dropAnswer' }],
    ['there is no room', { kind: 'answer', status: 503 }],
  ] as const)('asks, and goes on, where %s', async (what, fault) => {
    proxy.rule({ match: isData, after: 3, times: 1, fault });
    const file = fileOf(what.replaceAll(' ', '-'));
    const bytes = bytesOf(8 * MiB, what);
    await write(file, bytes, retries);
    await expectUploaded(file, bytes);
    expect(proxy.requests.some(({ headers }) => headers.get('content-range') === 'bytes */*')).toBe(true);
  });

  test('resumes with the URI, from where the line broke', async () => {
    const bytes = bytesOf(12 * MiB, 'resumed');
    proxy.rule({ match: isData, times: 1, fault: { kind: 'reset', at: { on: 'request', afterBytes: 7 * MiB } } });
    const broken = fileOf('resumed').createWriteStream({ resumable: true });
    const told = new Promise<string>((resolve) => broken.on('uri', resolve));
    await expect(pipeline(Readable.from(piecesOf(bytes), { objectMode: false }), broken)).rejects.toThrow();
    const uri = await told;
    const { pathname, search } = new URL(uri);
    const offset = await heldBytes(pathname + search);
    const file = fileOf('resumed');
    const resumeCRC32C = new CRC32C();
    resumeCRC32C.update(bytes.subarray(0, offset));
    await write(file, bytes.subarray(offset), { uri, offset, resumeCRC32C: resumeCRC32C.toString() });
    await expectUploaded(file, bytes);
  });

  test('fails, and stores nothing, where it goes on beyond what is held', async () => {
    const session = await client.session('beyond');
    expectIncomplete(await client.put(session, 'bytes 0-2/*', Buffer.from('abc')), 3);
    const uri = proxy.url + session;
    const beyond = write(fileOf('beyond'), Buffer.from('fgh'), { uri, offset: 5, chunkSize: MiB, validation: false });
    await expect(beyond).rejects.toMatchObject({ code: 416 });
    expectIncomplete(await client.put(session, 'bytes */*'), 3);
  });

  /** What the gateway holds once it has noticed the break. */
  async function heldBytes(session: string): Promise<number> {
    const deadline = Date.now() + 20_000;
    for (;;) {
      const { range } = (await client.put(session, 'bytes */*')).headers;
      if (range !== undefined) return Number(range.split('-')[1]) + 1;
      if (Date.now() > deadline) throw new Error('nothing is held');
    }
  }
});

function* piecesOf(bytes: Buffer): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += 100_000) yield bytes.subarray(at, at + 100_000);
}
