import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { bytesOf } from '../../protocols/rest/rest-client.ts';
import { availableStores, type RestGateway, startRestGateway } from '../../protocols/rest/rest-gateway.ts';
import { TusClient } from '../../protocols/tus/tus-client.ts';
import { type FaultProxy, type ProxiedRequest, startFaultProxy } from '../../support/fault-proxy.ts';
import { runPython, usePython } from '../../support/python.ts';

const KiB = 1024;
const MiB = 1024 ** 2;
const script = fileURLToPath(new URL('upload.py', import.meta.url));
const python = await usePython();
const store = (await availableStores()).at(-1)!;

const isPatch = ({ method }: ProxiedRequest) => method === 'PATCH';

describe.skipIf(python === undefined)('tuspy', { timeout: 60_000 }, () => {
  let gateway: RestGateway;
  let proxy: FaultProxy;
  let plain: TusClient;
  let folder: string;

  beforeAll(async () => {
    gateway = await startRestGateway(store);
    proxy = await startFaultProxy({ target: gateway.url });
    plain = new TusClient(gateway.url);
    folder = await mkdtemp(join(tmpdir(), 'partway-tuspy-'));
  });

  afterAll(async () => {
    plain?.close();
    await proxy?.stop();
    await gateway?.stop();
    if (folder !== undefined) await rm(folder, { recursive: true, force: true });
  });

  beforeEach(() => proxy.clear());

  async function upload(bytes: Buffer, chunkBytes: number, ...more: string[]): Promise<void> {
    const path = join(folder, 'film.mp4');
    await writeFile(path, bytes);
    const { code, output } = await runPython(python!, [
      script,
      `${proxy.url}/files/`,
      path,
      String(chunkBytes),
      ...more,
    ]);
    if (code !== 0) throw new Error(output);
    const url = new URL(output.trim().split('\n').at(-1)!);
    expect((await plain.send('GET', url.pathname)).bytes.equals(bytes)).toBe(true);
  }

  test.each([256 * KiB, 8 * MiB])('chunks of %d bytes', async (chunkBytes) => {
    await upload(bytesOf(9 * MiB + 5, `tuspy ${chunkBytes}`), chunkBytes, 'plain');
  });

  test('chunks with their checksums', async () => {
    await upload(bytesOf(9 * MiB + 5, 'tuspy checksum'), 4 * MiB, 'checksum');
    expect(proxy.requests.filter(isPatch).every(({ headers }) => headers.has('upload-checksum'))).toBe(true);
  });

  test.each([
    ['cut in the middle', { kind: 'reset', at: { on: 'request', afterBytes: MiB } }],
    ['whose answer is lost', { kind: 'dropAnswer' }],
    ['that is answered 503', { kind: 'answer', status: 503 }],
  ] as const)('a chunk %s is made good', async (_, fault) => {
    proxy.rule({ match: isPatch, after: 1, times: 1, fault });
    await upload(bytesOf(9 * MiB, `tuspy ${fault.kind}`), 4 * MiB, 'plain');
  });

  test('goes on with the URL of an upload that is there', async () => {
    const bytes = bytesOf(9 * MiB, 'tuspy resumed');
    const path = await plain.upload(bytes.length);
    await plain.patch(path, 0, bytes.subarray(0, 6 * MiB));
    await upload(bytes, 4 * MiB, 'plain', `${proxy.url}${path}`);
    expect(proxy.requests.filter(isPatch).map(({ requestBytes }) => requestBytes)).toEqual([3 * MiB]);
  });
});
