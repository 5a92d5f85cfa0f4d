import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { hashesOf } from '../../protocols/google/google-client.ts';
import { bytesOf } from '../../protocols/rest/rest-client.ts';
import { availableStores, type RestGateway, startRestGateway } from '../../protocols/rest/rest-gateway.ts';
import { type FaultProxy, type ProxiedRequest, startFaultProxy } from '../../support/fault-proxy.ts';
import { runPython, usePython } from '../../support/python.ts';

const KiB = 1024;
const MiB = 1024 ** 2;
const script = fileURLToPath(new URL('upload.py', import.meta.url));
const python = await usePython();
const store = (await availableStores()).at(-1)!;

interface Outcome {
  readonly object: { readonly size: string; readonly crc32c: string; readonly md5Hash: string };
  readonly recoveries: number;
  readonly sent: number;
}

describe.skipIf(python === undefined)('google-resumable-media', () => {
  let gateway: RestGateway;
  let proxy: FaultProxy;
  let folder: string;

  beforeAll(async () => {
    gateway = await startRestGateway(store);
    proxy = await startFaultProxy({ target: gateway.url });
    folder = await mkdtemp(join(tmpdir(), 'partway-google-'));
  });

  afterAll(async () => {
    await proxy?.stop();
    await gateway?.stop();
    if (folder !== undefined) await rm(folder, { recursive: true, force: true });
  });

  beforeEach(() => proxy.clear());

  async function upload(
    name: string,
    bytes: Buffer,
    options: { chunkBytes: number; checksum: string; size?: 'known' | 'unknown' },
  ): Promise<Outcome> {
    const path = join(folder, name);
    await writeFile(path, bytes);
    const { chunkBytes, checksum, size = 'known' } = options;
    const args = [script, proxy.url, gateway.bucket, name, path, String(chunkBytes), checksum, size];
    const { code, output } = await runPython(python!, args);
    if (code !== 0) throw new Error(output);
    expect((await gateway.client.read(name)).bytes.equals(bytes)).toBe(true);
    const outcome = JSON.parse(output.trim().split('\n').at(-1)!) as Outcome;
    expect(outcome.object).toMatchObject({ size: String(bytes.length), ...hashesOf(bytes) });
    expect(outcome.sent).toBe(bytes.length);
    return outcome;
  }

  const isData = ({ method, headers }: ProxiedRequest) =>
    method === 'PUT' && /^bytes \d/.test(headers.get('content-range') ?? '');

  test.each([
    [256 * KiB, 'md5', 'known', 10 * MiB + 7],
    [256 * KiB, 'crc32c', 'unknown', 10 * MiB + 7],
    [8 * MiB, 'md5', 'unknown', 20 * MiB + 7],
    [8 * MiB, 'crc32c', 'known', 20 * MiB + 7],
    [8 * MiB, 'md5', 'unknown', 16 * MiB],
    [8 * MiB, 'crc32c', 'known', 300],
    [256 * KiB, 'md5', 'known', 0],
    [256 * KiB, 'crc32c', 'unknown', 0],
  ] as const)(
    'uploads in chunks of %d bytes, with %s, %s size, of %d bytes',
    async (chunkBytes, checksum, size, total) => {
      const name = `file-${chunkBytes}-${checksum}-${size}-${total}`;
      await upload(name, bytesOf(total, name), { chunkBytes, checksum, size });
    },
  );

  test('recovers, and sends on from what is held', async () => {
    proxy.rule({ match: isData, after: 2, times: 1, fault: { kind: 'answer', status: 416 } });
    const outcome = await upload('recovered', bytesOf(2 * MiB, 'recovered'), {
      chunkBytes: 512 * KiB,
      checksum: 'md5',
    });
    expect(outcome.recoveries).toBe(1);
  });

  test('recovers before a byte is held', async () => {
    proxy.rule({ match: isData, times: 1, fault: { kind: 'answer', status: 400 } });
    const outcome = await upload('begun', bytesOf(MiB, 'begun'), { chunkBytes: 256 * KiB, checksum: 'crc32c' });
    expect(outcome.recoveries).toBe(1);
  });

  test.each([
    ['in the middle of a chunk', { kind: 'reset', at: { on: 'request', afterBytes: 3 * MiB } }],
    ['when the answer is lost', { kind: 'dropAnswer' }],
    ['when the gateway has no room', { kind: 'answer', status: 503 }],
  ] as const)('sends the same chunk again %s', async (what, fault) => {
    proxy.rule({ match: isData, after: 1, times: 1, fault });
    const name = `again-${what.replaceAll(' ', '-')}`;
    await upload(name, bytesOf(20 * MiB, name), { chunkBytes: 8 * MiB, checksum: 'md5' });
    expect(
      proxy.requests.filter((request) => request.headers.get('content-range')?.startsWith(`bytes ${8 * MiB}-`)),
    ).toHaveLength(2);
  });

  test.each([256 * KiB, 8 * MiB])('gets the last answer that was lost, in chunks of %d bytes', async (chunkBytes) => {
    proxy.rule({
      match: (request) => /-16777215\//.test(request.headers.get('content-range') ?? ''),
      times: 1,
      fault: { kind: 'dropAnswer' },
    });
    await upload(`lost-${chunkBytes}`, bytesOf(16 * MiB, 'lost'), { chunkBytes, checksum: 'crc32c' });
  });
});
