import { execFile, execFileSync, spawn } from 'node:child_process';
import { appendFile, mkdtemp, readdir, readFile, rm, truncate, utimes, writeFile } from 'node:fs/promises';
import { type AddressInfo, connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createServer as createTlsServer } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { crc32 } from 'node:zlib';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { StoreError } from '../../src/core/object-store.ts';
import { createApiKey } from '../../src/db/api-keys.ts';
import { Connection } from '../../src/db/connection.ts';
import { readStored } from '../fault/stored-object.ts';
import { bytesOf } from '../protocols/rest/rest-client.ts';
import { availableStores, type RestGateway, startRestGateway } from '../protocols/rest/rest-gateway.ts';
import { type FaultProxy, type ProxiedRequest, startFaultProxy } from '../support/fault-proxy.ts';
import { startTestGateway, storeSettings, type TestGateway } from '../support/gateway.ts';
import { ProcessOutput } from '../support/process-output.ts';
import { runPython, usePython } from '../support/python.ts';
import { findPythons } from '../support/pythons.ts';
import { createBucket, useMinio } from '../support/stores.ts';

const KiB = 1024;
const MiB = 1024 ** 2;
const partBytes = 8 * MiB;
const program = fileURLToPath(new URL('../../infra/centos/partway-push.py', import.meta.url));
const withPackages = await usePython();
const pythons = await findPythons();
const store = (await availableStores()).at(-1)!;
const minio = await useMinio();

interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

interface Running {
  readonly ended: Promise<Ended>;
  readonly stderr: ProcessOutput;
  kill(signal: NodeJS.Signals): void;
}

test.skipIf(withPackages === undefined)('needs no more than Python 3.6', async () => {
  const vermin = join(dirname(withPackages!), 'vermin');
  const found = await runPython(withPackages!, [vermin, '--target=3.6-', '--no-tips', '--violations', program]);
  expect(found).toMatchObject({ code: 0, output: expect.stringContaining('Minimum required versions: 3.6') });
});

describe.skipIf(pythons.length === 0)('a push from a host where nothing may be installed', () => {
  const [oldest = ''] = pythons;
  let folder: string;
  const running = new Set<Running>();

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'partway-push-'));
  });

  afterAll(() => rm(folder, { recursive: true, force: true }));

  afterEach(() => {
    for (const each of running) each.kill('SIGKILL');
  });

  async function fileOf(name: string, bytes: Buffer): Promise<string> {
    const path = join(folder, name);
    await writeFile(path, bytes);
    return path;
  }

  function start(args: readonly string[], env: Record<string, string> = {}, python = oldest): Running {
    const child = spawn(python, [program, ...args], {
      env: { PATH: process.env.PATH, LC_ALL: 'C', XDG_STATE_HOME: join(folder, 'state'), ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const stdout = new ProcessOutput([child.stdout]);
    const stderr = new ProcessOutput([child.stderr]);
    const ended = new Promise<Ended>((resolve) => {
      child.once('close', (code, signal) => {
        running.delete(started);
        resolve({ code, signal, stdout: stdout.text, stderr: stderr.text });
      });
    });
    const started = { ended, stderr, kill: (signal: NodeJS.Signals) => void child.kill(signal) };
    running.add(started);
    return started;
  }

  const push = (args: readonly string[], env?: Record<string, string>, python?: string): Promise<Ended> =>
    start(args, env, python).ended;

  /** A push that is killed once the proxy holds one of its requests. */
  async function killedAt(
    held: { readonly reached: Promise<unknown> },
    args: readonly string[],
    env?: Record<string, string>,
  ): Promise<void> {
    const killed = start(args, env);
    await held.reached;
    killed.kill('SIGKILL');
    await killed.ended;
  }

  const jsonLines = ({ stdout }: Ended) =>
    stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);

  const terminal = fileURLToPath(new URL('../support/run_in_terminal.py', import.meta.url));

  describe('over a gateway that lives', () => {
    let gateway: RestGateway;
    let proxy: FaultProxy;

    beforeAll(async () => {
      gateway = await startRestGateway(store);
      proxy = await startFaultProxy({ target: gateway.url });
    });

    afterAll(async () => {
      await proxy?.stop();
      await gateway?.stop();
    });

    beforeEach(() => proxy.clear());

    const isPart = ({ method, path }: ProxiedRequest) => method === 'PUT' && /\/parts\/\d+$/.test(path);
    const isRange = ({ headers }: ProxiedRequest) => /^bytes \d/.test(headers.get('content-range') ?? '');
    const isData = (request: ProxiedRequest) => isPart(request) || isRange(request);
    const isCreate = ({ method, path }: ProxiedRequest) => method === 'POST' && path === '/uploads';
    const isComplete = ({ path }: ProxiedRequest) => path.endsWith('/complete');
    const isAcknowledged = (request: ProxiedRequest) => isData(request) && request.status === 200;
    const dataBytes = () => proxy.requests.filter(isData).reduce((sum, { requestBytes }) => sum + requestBytes, 0);

    async function expectStored(key: string, bytes: Buffer): Promise<void> {
      expect((await gateway.client.read(key)).bytes.equals(bytes)).toBe(true);
      expect((await gateway.client.list(`?prefix=${key}`)).uploads).toMatchObject([{ state: 'completed' }]);
    }

    test.each(pythons)('%s: a file arrives, and its key, size and ETag are told', async (python) => {
      const bytes = bytesOf(20 * MiB + 4711, python);
      const path = await fileOf('arrives', bytes);
      const key = `in/${pythons.indexOf(python)}.img`;
      const { code, stdout, stderr } = await push([path, proxy.url, key], {}, python);
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      await expectStored(key, bytes);
      const { etag } = (await gateway.client.list(`?prefix=${key}`)).uploads[0]!;
      expect(stdout).toBe(`${key}\t${bytes.length}\t${etag}\n`);
      expect(await readdir(join(folder, 'state/partway'))).toEqual([]);
    });

    test('parts are sent with the digest that the gateway checks, each once', async () => {
      const bytes = bytesOf(20 * MiB, 'digests');
      expect(await push([await fileOf('digests', bytes), proxy.url])).toMatchObject({ code: 0 });
      const digests = proxy.requests.filter(isData).map(({ headers }) => headers.get('content-digest'));
      const expected = [0, 1, 2].map((part) => {
        const crc = Buffer.alloc(4);
        crc.writeUInt32BE(crc32(bytes.subarray(part * partBytes, (part + 1) * partBytes)));
        return `crc32=:${crc.toString('base64')}:`;
      });
      expect(digests.toSorted()).toEqual(expected.toSorted());
    });

    test.each([0, 1, partBytes, 2 * partBytes + 1])('a file of %d bytes arrives', async (size) => {
      const bytes = bytesOf(size, 'size');
      const key = `size-${size}`;
      expect(await push([await fileOf(key, bytes), proxy.url])).toMatchObject({ code: 0 });
      await expectStored(key, bytes);
    });

    test('a sparse file arrives, as long as it seems', async () => {
      const path = await fileOf('sparse', bytesOf(5, 'sparse'));
      await truncate(path, 24 * MiB);
      expect(await push([path, proxy.url])).toMatchObject({ code: 0 });
      await expectStored('sparse', Buffer.concat([bytesOf(5, 'sparse')], 24 * MiB));
    });

    test('a limited rate and a name that is no ASCII do no harm, whatever the locale', async () => {
      const bytes = bytesOf(3 * MiB, 'limited');
      const path = await fileOf('März.img', bytes);
      const { code, stdout } = await push([path, proxy.url, '--limit-rate', '64M']);
      expect({ code, stdout }).toMatchObject({ code: 0, stdout: expect.stringMatching(/^März\.img\t/) });
      expect((await gateway.client.read('März.img')).bytes.equals(bytes)).toBe(true);
    });

    test('killed in the middle and run again, it sends only what is missing', async () => {
      const bytes = bytesOf(64 * MiB, 'killed');
      const path = await fileOf('killed', bytes);
      const args = [path, proxy.url, '--parallel', '2'];
      const held = proxy.rule({
        match: isPart,
        after: 3,
        fault: { kind: 'hold', at: { on: 'request', afterBytes: MiB } },
      });
      const first = start(args);
      await held.reached;
      await expect.poll(() => proxy.requests.filter(isAcknowledged).length).toBe(3);
      first.kill('SIGKILL');
      expect(await first.ended).toMatchObject({ signal: 'SIGKILL' });
      proxy.clear();
      expect(await push(args)).toMatchObject({ code: 0, stderr: 'killed: resumed at 24.0 MiB, not sent again\n' });
      expect(dataBytes()).toBe(40 * MiB);
      await expectStored('killed', bytes);
    });

    test('killed in the middle of a part that went in ranges, it sends only the rest of the part', async () => {
      const bytes = bytesOf(partBytes, 'ranges');
      const args = [await fileOf('ranges', bytes), proxy.url];
      const reset = { kind: 'reset', at: { on: 'request', afterBytes: MiB } } as const;
      proxy.rule({ match: isPart, times: 1, fault: reset });
      const held = proxy.rule({ match: isRange, after: 1, fault: { kind: 'hold' } });
      await killedAt(held, args);
      proxy.clear();
      expect(await push(args)).toMatchObject({ code: 0, stderr: 'ranges: resumed at 4.0 MiB, not sent again\n' });
      expect(dataBytes()).toBe(4 * MiB);
      await expectStored('ranges', bytes);
    });

    test('killed before it knew of its upload, it finds it again', async () => {
      const bytes = bytesOf(MiB, 'unknown');
      const path = await fileOf('unknown', bytes);
      const held = proxy.rule({ match: isCreate, times: 1, fault: { kind: 'hold', at: { on: 'answer' } } });
      await killedAt(held, [path, proxy.url]);
      expect(await push([path, proxy.url])).toMatchObject({ code: 0 });
      await expectStored('unknown', bytes);
    });

    test.each([
      ['of the creation', isCreate],
      ['to a part', isPart],
      ['of the completion', isComplete],
    ] as const)('the answer %s is lost: nothing is made or sent twice', async (what, match) => {
      const key = `lost-${what.replaceAll(' ', '-')}`;
      const bytes = bytesOf(20 * MiB, key);
      proxy.rule({ match, times: 1, fault: { kind: 'dropAnswer' } });
      expect(await push([await fileOf(key, bytes), proxy.url])).toMatchObject({ code: 0 });
      expect(proxy.requests.filter(match).some(({ fault }) => fault === 'dropAnswer')).toBe(true);
      expect(dataBytes()).toBe(bytes.length);
      await expectStored(key, bytes);
    });

    test('a line that carries no whole part carries smaller ranges, and none of them again once it is stored', async () => {
      const bytes = bytesOf(10 * MiB, 'bad line');
      proxy.rule({
        match: (request) => isData(request) && Number(request.headers.get('content-length')) > 1.5 * MiB,
        fault: { kind: 'reset', at: { on: 'request', afterBytes: 1.5 * MiB } },
      });
      expect(await push([await fileOf('bad-line', bytes), proxy.url, '--parallel', '1'])).toMatchObject({ code: 0 });
      await expectStored('bad-line', bytes);
      const acknowledged = proxy.requests.filter(isAcknowledged);
      expect(acknowledged.every(isRange)).toBe(true);
      expect(acknowledged.reduce((sum, { requestBytes }) => sum + requestBytes, 0)).toBeLessThanOrEqual(bytes.length);
    });

    test('once the line holds again, whole parts are sent again', async () => {
      const bytes = bytesOf(48 * MiB, 'mended line');
      const fault = { kind: 'reset', at: { on: 'request', afterBytes: MiB } } as const;
      proxy.rule({ match: isData, times: 1, fault });
      expect(await push([await fileOf('mended', bytes), proxy.url, '--parallel', '1'])).toMatchObject({ code: 0 });
      const sent = proxy.requests.filter(isData).map((request) => (isPart(request) ? 'part' : 'range'));
      expect(sent).toEqual(['part', 'range', 'range', 'range', 'range', 'part', 'part', 'part', 'part']);
      await expectStored('mended', bytes);
    });

    test('a body that ends early, and a gateway that falls silent, are tried again', async () => {
      const bytes = bytesOf(30 * MiB, 'faults');
      proxy.rule({ match: isData, times: 1, fault: { kind: 'truncate', at: { on: 'request', afterBytes: MiB } } });
      proxy.rule({
        match: isData,
        after: 2,
        times: 1,
        fault: { kind: 'stall', at: { on: 'request', afterBytes: MiB } },
      });
      proxy.rule({ match: isComplete, times: 1, fault: { kind: 'stall', at: { on: 'answer' } } });
      expect(await push([await fileOf('faults', bytes), proxy.url, '--timeout', '1'])).toMatchObject({ code: 0 });
      const faults = new Set(proxy.requests.flatMap(({ fault }) => fault ?? []));
      expect(faults).toEqual(new Set(['truncate', 'stall']));
      await expectStored('faults', bytes);
    });

    test('refused for now, it waits as long as it is told', async () => {
      const bytes = bytesOf(9 * MiB, 'busy');
      let calls = 0;
      const mend = gateway.probe.before('uploadPart', () => {
        calls += 1;
        if (calls === 1) throw new StoreError('unavailable', 'as the test wants it');
      });
      const ended = await push([await fileOf('busy', bytes), gateway.url, '--json']);
      mend();
      expect(ended.code).toBe(0);
      const retries = jsonLines(ended).filter(({ message_type }) => message_type === 'retry');
      expect(retries).toMatchObject([{ reason: '503 The store cannot be reached. Try again.' }]);
      expect(retries[0]!.afterSeconds).toBeGreaterThanOrEqual(2);
      await expectStored('busy', bytes);
    });

    test('a file that changed since its push was begun is not completed, until --restart drops what was sent', async () => {
      const path = await fileOf('changed', bytesOf(24 * MiB, 'before'));
      const held = proxy.rule({ match: isPart, after: 1, fault: { kind: 'hold' } });
      await killedAt(held, [path, proxy.url, '--parallel', '1']);
      proxy.clear();
      await appendFile(path, 'more');
      const refused = await push([path, proxy.url]);
      expect(refused).toMatchObject({
        code: 3,
        stderr: expect.stringContaining('has changed since its push was begun'),
      });
      expect(refused.stderr).toContain('--restart');
      expect(proxy.requests).toEqual([]);
      expect(await push([path, proxy.url, '--restart'])).toMatchObject({ code: 0 });
      expect((await gateway.client.read('changed')).bytes.equals(await readFile(path))).toBe(true);
      expect((await gateway.client.list('?prefix=changed')).uploads.map(({ state }) => state)).toEqual([
        'completed',
        'aborted',
      ]);
    });

    test.each([
      ['a part', 'changing-part', isPart],
      // Whoever brings the last byte in a range completes by it.
      ['its last range', 'changing-range', isRange],
    ] as const)('a file that changes while %s is sent is not completed', async (_, key, match) => {
      const path = await fileOf(key, bytesOf(2 * MiB, key));
      if (match === isRange) {
        proxy.rule({ match: isPart, times: 1, fault: { kind: 'reset', at: { on: 'request', afterBytes: KiB } } });
      }
      const fault = { kind: 'hold', at: { on: 'request', afterBytes: KiB } } as const;
      const held = proxy.rule({ match, after: match === isRange ? 1 : 0, times: 1, fault });
      const pushing = start([path, proxy.url, '--limit-rate', '512K']);
      await held.reached;
      await utimes(path, new Date(), new Date(0));
      held.release();
      expect(await pushing.ended).toMatchObject({ code: 3, stderr: expect.stringContaining('time of modification') });
      expect((await gateway.client.list(`?prefix=${key}`)).uploads).toMatchObject([{ state: 'open' }]);
    });

    test('a part that was replaced by other bytes is found before anything is completed', async () => {
      const path = await fileOf('replaced', bytesOf(12 * MiB, 'replaced'));
      const held = proxy.rule({ match: isPart, after: 1, fault: { kind: 'hold' } });
      const pushing = start([path, proxy.url, '--parallel', '1']);
      await held.reached;
      const { id } = (await gateway.client.list('?prefix=replaced')).uploads[0]!;
      const others = bytesOf(partBytes, 'others');
      const crc = Buffer.alloc(4);
      crc.writeUInt32BE(crc32(others));
      await gateway.client.putPart(id, 1, others, { 'content-digest': `crc32=:${crc.toString('base64')}:` });
      held.release();
      expect(await pushing.ended).toMatchObject({ code: 7, stderr: expect.stringContaining('part 1') });
      expect((await gateway.client.look(id)).state).toBe('open');
    });

    test('the same file is not pushed twice at once', async () => {
      const bytes = bytesOf(MiB, 'twice');
      const path = await fileOf('twice', bytes);
      const held = proxy.rule({ match: isPart, fault: { kind: 'hold' } });
      const first = start([path, proxy.url]);
      await held.reached;
      expect(await push([path, proxy.url])).toMatchObject({ code: 8, stderr: expect.stringContaining('already') });
      held.release();
      expect(await first.ended).toMatchObject({ code: 0 });
      await expectStored('twice', bytes);
    });

    test('an upload that is gone is begun anew, once', async () => {
      const bytes = bytesOf(MiB, 'gone');
      const path = await fileOf('gone', bytes);
      const held = proxy.rule({ match: isPart, times: 1, fault: { kind: 'hold' } });
      const pushing = start([path, proxy.url]);
      await held.reached;
      const { id } = (await gateway.client.list('?prefix=gone')).uploads[0]!;
      await gateway.client.request('DELETE', `/uploads/${id}`);
      held.release();
      expect(await pushing.ended).toMatchObject({ code: 0, stderr: expect.stringMatching(/aborted.*Starting over/) });
      expect((await gateway.client.read('gone')).bytes.equals(bytes)).toBe(true);
    });

    test('an upload that is gone again ends with 4', async () => {
      const path = await fileOf('gone-again', bytesOf(MiB, 'gone again'));
      const problem = { type: 'about:blank', status: 410, title: 'Upload gone', detail: 'Lost.', code: 'upload_gone' };
      const fault = { kind: 'answer', status: 410, contentType: 'application/problem+json' } as const;
      proxy.rule({ match: isPart, fault: { ...fault, body: JSON.stringify(problem) } });
      expect(await push([path, proxy.url])).toMatchObject({ code: 4 });
      expect(proxy.requests.filter(isCreate)).toHaveLength(2);
    });

    test('interrupted, it keeps the upload and tells the command that goes on', async () => {
      const bytes = bytesOf(20 * MiB, 'interrupted');
      const path = await fileOf('it is "interrupted".img', bytes);
      const args = [path, proxy.url, 'interrupted', '--parallel', '1', '--json'];
      const held = proxy.rule({
        match: isPart,
        after: 1,
        fault: { kind: 'hold', at: { on: 'request', afterBytes: MiB } },
      });
      const first = start(args);
      await held.reached;
      first.kill('SIGINT');
      const ended = await first.ended;
      expect(ended.code).toBe(130);
      const { id } = (await gateway.client.list('?prefix=interrupted')).uploads[0]!;
      const last = jsonLines(ended).at(-1)!;
      expect(last).toMatchObject({ message_type: 'error', code: 'interrupted', uploadId: id, resumable: true });
      expect(last.message).toContain(`'${path}' ${proxy.url} interrupted --parallel 1 --json`);
      proxy.clear();
      const resumed = await push(args);
      expect(jsonLines(resumed)[0]).toMatchObject({ message_type: 'start', uploadId: id, resumedBytes: partBytes });
      expect(jsonLines(resumed).at(-1)).toMatchObject({
        message_type: 'summary',
        key: 'interrupted',
        size: bytes.length,
      });
      await expectStored('interrupted', bytes);
    });

    test('where nothing listens that is told once, and nothing is said to be kept', async () => {
      const path = await fileOf('nothing', bytesOf(5, 'nothing'));
      const pushing = start([path, 'http://127.0.0.1:1']);
      const ended = pushing.ended.then((early): never => {
        throw new Error(early.stderr);
      });
      ended.catch(() => undefined);
      await pushing.stderr.waitFor(/^nothing: .*trying again$/m, { deadlineMs: 20_000, ended });
      pushing.kill('SIGINT');
      const { code, stderr } = await pushing.ended;
      expect(code).toBe(130);
      expect(stderr.match(/trying again/g)).toHaveLength(1);
      expect(stderr).toMatch(/Interrupted before anything was sent\. To try again: /);
    });

    test.each([20, 40, 60, 100])('in a terminal of %d columns no word is cut', async (columns) => {
      const path = await fileOf('wide', bytesOf(2 * MiB, 'wide'));
      const args = [terminal, String(columns), oldest, program, path, proxy.url, '--limit-rate', '1M'];
      const env = { PATH: process.env.PATH, LC_ALL: 'C.UTF-8', TERM: 'xterm', XDG_STATE_HOME: join(folder, 'state') };
      const { stdout } = await promisify(execFile)('python3', args, { env });
      // biome-ignore lint/suspicious/noControlCharactersInRegex: what a terminal is told
      const lines = stdout.split(/\r\u001b\[K/).map((line) => line.replace(/\u001b\[\d*m/g, '').trimEnd());
      const bars = lines.filter((line) => line.includes('%'));
      expect(bars.length).toBeGreaterThan(1);
      for (const line of bars) {
        expect(line.length).toBeLessThan(columns);
        expect(line).toMatch(
          /^wide [━─=-]* ?\d+\.\d%( [\d.]+(\/[\d.]+)? ?\w*B(\/[\d.]+ \w*B)?| [\d.]+ \w+\/s| ETA ~[\d:]+| parts \d\/\d|( ·|,) \d in flight)*$/,
        );
      }
    });

    test('SIGUSR1 tells how far it is, SIGTERM ends it with 143', async () => {
      const path = await fileOf('told', bytesOf(20 * MiB, 'told'));
      const held = proxy.rule({ match: isPart, after: 1, fault: { kind: 'hold' } });
      const pushing = start([path, proxy.url, '--parallel', '1', '--quiet']);
      await held.reached;
      pushing.kill('SIGUSR1');
      const ended = pushing.ended.then((early): never => {
        throw new Error(early.stderr);
      });
      ended.catch(() => undefined);
      await pushing.stderr.waitFor(/^told .*MiB.* parts 1\/3, 1 in flight$/m, { deadlineMs: 20_000, ended });
      pushing.kill('SIGTERM');
      expect(await pushing.ended).toMatchObject({
        code: 143,
        stderr: expect.stringContaining('The upload is kept with 8.0 MiB of 20.0 MiB stored.'),
      });
    });

    test.each([
      ['a pipe', ['-', 'http://127.0.0.1:1'], 'curl -T -'],
      ['a secret in the URL', ['/etc/hostname', 'http://key:secret@127.0.0.1:1'], 'PARTWAY_API_KEY'],
      ['a URL that is none', ['/etc/hostname', '127.0.0.1:1'], 'URL'],
    ])('%s is refused, with what to do instead', async (_, args, hint) => {
      const { code, stderr } = await push(args);
      expect({ code, stderr }).toMatchObject({ code: 2, stderr: expect.stringContaining(hint) });
      expect(stderr).not.toContain('secret@');
    });

    test.each([404, 410, 520, 503])(
      '%d of what stands in front of the gateway will pass, and the upload stays',
      async (status) => {
        const key = `in-front-${status}`;
        const bytes = bytesOf(20 * MiB, key);
        proxy.rule({ match: isPart, after: 1, times: 1, fault: { kind: 'answer', status, body: '<html>' } });
        expect(await push([await fileOf(key, bytes), proxy.url])).toMatchObject({ code: 0 });
        expect(proxy.requests.filter(isCreate)).toHaveLength(1);
        await expectStored(key, bytes);
      },
    );

    test.each(['{}', '[]'])('%s is no answer of a gateway: 8 or 5', async (body) => {
      const path = await fileOf('odd-json', bytesOf(KiB, 'odd-json'));
      proxy.rule({
        match: isCreate,
        fault: { kind: 'answer', status: 200, contentType: 'application/json', body },
      });
      const ended = await push([path, proxy.url, '--give-up-after', '1']);
      expect([5, 8]).toContain(ended.code);
      expect(ended.stderr).toContain('is not a gateway');
      expect(ended.stderr).not.toContain('Traceback');
    });

    test('where what it sends is not kept, it ends with 8', async () => {
      const path = await fileOf('not-kept', bytesOf(2 * partBytes, 'not-kept'));
      proxy.rule({
        match: isPart,
        fault: { kind: 'answer', status: 200, contentType: 'application/json', body: '{}' },
      });
      const ended = await push([path, proxy.url]);
      expect(ended).toMatchObject({ code: 8, stderr: expect.stringContaining('keeps losing parts') });
    });

    test('a request that takes longer than its patience may break once', async () => {
      const bytes = bytesOf(8 * MiB, 'long');
      proxy.rule({ match: isPart, times: 1, fault: { kind: 'reset', at: { on: 'request', afterBytes: 7 * MiB } } });
      const args = ['--limit-rate', '4M', '--give-up-after', '1', '--parallel', '1'];
      expect(await push([await fileOf('long', bytes), proxy.url, ...args])).toMatchObject({ code: 0 });
      await expectStored('long', bytes);
    });

    test('a file rewritten in place under its old time of modification has changed', async () => {
      const path = await fileOf('in-place', bytesOf(24 * MiB, 'old'));
      const old = new Date('2026-01-01');
      await utimes(path, old, old);
      const held = proxy.rule({ match: isPart, after: 1, fault: { kind: 'hold' } });
      await killedAt(held, [path, proxy.url, '--parallel', '1']);
      proxy.clear();
      await writeFile(path, bytesOf(24 * MiB, 'new'), { flag: 'r+' });
      await utimes(path, old, old);
      const ended = await push([path, proxy.url]);
      expect(ended).toMatchObject({ code: 3, stderr: expect.stringContaining('time of change') });
    });

    test('a FIFO is no regular file, and a state file of another hand is none', async () => {
      const fifo = join(folder, 'fifo');
      execFileSync('mkfifo', [fifo]);
      expect(await push([fifo, proxy.url])).toMatchObject({ code: 3 });
      const path = await fileOf('foreign', bytesOf(KiB, 'foreign'));
      const state = join(folder, 'foreign-state');
      const held = proxy.rule({ match: isPart, fault: { kind: 'hold' } });
      await killedAt(held, [path, proxy.url], { XDG_STATE_HOME: state });
      proxy.clear();
      for (const name of await readdir(join(state, 'partway'))) {
        if (name.endsWith('.json')) await writeFile(join(state, 'partway', name), '[]');
      }
      expect(await push([path, proxy.url], { XDG_STATE_HOME: state })).toMatchObject({ code: 0 });
    });

    test('what is no gateway ends with 8', async () => {
      const path = await fileOf('no-gateway', bytesOf(KiB, 'no gateway'));
      const ended = await push([path, `${proxy.url}/elsewhere`]);
      expect(ended).toMatchObject({ code: 8, stderr: expect.stringContaining('404') });
    });

    test('a file that is missing ends with 3', async () => {
      expect(await push([join(folder, 'nowhere'), proxy.url])).toMatchObject({ code: 3 });
    });

    test('no gateway ends with 5, and what is told last is that it can go on', async () => {
      const vacant = createServer();
      const port = await new Promise<number>((resolve) => {
        vacant.listen(0, '127.0.0.1', () => resolve((vacant.address() as AddressInfo).port));
      });
      await new Promise((resolve) => vacant.close(resolve));
      const path = await fileOf('nobody', bytesOf(KiB, 'nobody'));
      const ended = await push([path, `http://127.0.0.1:${port}`, '--give-up-after', '1', '--json']);
      expect(ended.code).toBe(5);
      expect(jsonLines(ended).at(-1)).toMatchObject({ message_type: 'error', code: 'temporary', exitCode: 5 });
    });

    test('what speaks no TLS where https was asked for is a gateway that does not answer: 5', async () => {
      const path = await fileOf('no-tls', bytesOf(KiB, 'no-tls'));
      const url = gateway.url.replace('http:', 'https:');
      const ended = await push([path, url, '--give-up-after', '1', '--json']);
      expect(ended).toMatchObject({ code: 5, stderr: expect.not.stringContaining('Traceback') });
    });

    test('an upload that the gateway does not know ends with 4', async () => {
      const path = await fileOf('forgotten', bytesOf(MiB, 'forgotten'));
      const rule = proxy.rule({ match: isPart, fault: { kind: 'answer', status: 400 } });
      const state = { XDG_STATE_HOME: join(folder, 'forgotten-state') };
      expect(await push([path, proxy.url], state)).toMatchObject({ code: 8 });
      rule.remove();
      const [name = ''] = (await readdir(join(folder, 'forgotten-state/partway'))).filter((each) =>
        each.endsWith('.json'),
      );
      const statePath = join(folder, 'forgotten-state/partway', name);
      const remembered = await readFile(statePath, 'utf8');
      await writeFile(statePath, remembered.replace(/("uploadId": ")\w+/, `$1${'0'.repeat(32)}`));
      expect(await push([path, proxy.url], state)).toMatchObject({ code: 4 });
    });
  });

  describe('over a gateway that wants an API key', () => {
    let gateway: RestGateway;
    let secret: string;

    beforeAll(async () => {
      gateway = await startRestGateway('disk', { env: { PARTWAY_AUTH: 'keys' } });
      const connection = new Connection({ url: gateway.databaseUrl, onIdleError: () => undefined });
      const key = {
        tenant: 'acme',
        tenantKeyPrefix: undefined,
        name: 'push',
        scopes: ['uploads:write', 'uploads:read'] as const,
        bucket: undefined,
        keyPrefix: '',
        stagingPrefix: '.partway/',
      };
      ({ secret } = await createApiKey(connection, { ...key, scopes: [...key.scopes] }));
      await connection.close();
    });

    afterAll(() => gateway?.stop());

    test('the key comes from the environment or from a file', async () => {
      const path = await fileOf('let-in', bytesOf(MiB, 'let in'));
      const keyFile = await fileOf('api-key', Buffer.from(`${secret}\n`));
      const results = [
        await push([path, gateway.url], { PARTWAY_API_KEY: secret }),
        await push([path, gateway.url], { PARTWAY_API_KEY_FILE: keyFile }),
        await push([path, gateway.url, '--api-key-file', keyFile]),
      ];
      expect(results.map(({ code, stderr }) => ({ code, stderr }))).toEqual(Array(3).fill({ code: 0, stderr: '' }));
    });

    test.each([
      ['a wrong one', { PARTWAY_API_KEY: 'pw_wrong' }],
      ['none', {}],
    ])('%s ends with 6', async (_, env) => {
      const path = await fileOf('kept-out', bytesOf(MiB, 'kept out'));
      expect(await push([path, gateway.url], env)).toMatchObject({ code: 6, stderr: expect.stringContaining('401') });
    });
  });

  describe('over TLS', () => {
    let gateway: RestGateway;
    let front: Server;
    let url: string;

    beforeAll(async () => {
      gateway = await startRestGateway('disk');
      const [key, cert] = [join(folder, 'tls.key'), join(folder, 'tls.crt')];
      await promisify(execFile)('openssl', [
        ...['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', '-subj', '/CN=localhost'],
        ...['-addext', 'subjectAltName=DNS:localhost', '-keyout', key, '-out', cert],
      ]);
      front = createTlsServer({ key: await readFile(key), cert: await readFile(cert) }, (socket) => {
        const onward = connect(Number(new URL(gateway.url).port), '127.0.0.1');
        socket.pipe(onward).pipe(socket);
        for (const each of [socket, onward]) each.on('error', () => undefined);
      });
      front.on('tlsClientError', () => undefined);
      await new Promise<void>((resolve) => front.listen(0, '127.0.0.1', resolve));
      url = `https://localhost:${(front.address() as AddressInfo).port}`;
    });

    afterAll(async () => {
      front?.close();
      await gateway?.stop();
    });

    test.each(pythons)('%s: a file arrives where the certificate is trusted', async (python) => {
      const bytes = bytesOf(20 * MiB, 'tls');
      const path = await fileOf('tls', bytes);
      expect(await push([path, url, '--ca-file', join(folder, 'tls.crt')], {}, python)).toMatchObject({ code: 0 });
      expect((await gateway.client.read('tls')).bytes.equals(bytes)).toBe(true);
    });

    test.each(pythons)('%s: a certificate that nobody knows ends with 8', async (python) => {
      const path = await fileOf('tls', bytesOf(MiB, 'tls'));
      const ended = await push([path, url], {}, python);
      expect(ended).toMatchObject({ code: 8, stderr: expect.stringContaining('CERTIFICATE_VERIFY_FAILED') });
    });
  });

  describe.skipIf(minio === undefined)('over a gateway that is killed', () => {
    let gateway: TestGateway;
    let bucket: string;

    beforeAll(async () => {
      bucket = await createBucket(minio!);
      gateway = await startTestGateway({ env: storeSettings(minio!, bucket) });
    });

    afterAll(() => gateway?.stop());

    test.each([
      'store.createMultipartUpload:after:1',
      'store.uploadPart:before:3',
      'store.uploadPart:after:2',
      'records.commitPart:after:3',
      'store.completeMultipartUpload:after:1',
    ])('killed at %s and started again, it gets the whole file in one push', { timeout: 120_000 }, async (killAt) => {
      const key = killAt.replace(/\W/g, '-');
      const bytes = bytesOf(42 * MiB, key);
      await gateway.restart({ killAt });
      const pushing = push([await fileOf(key, bytes), gateway.url, key]);
      expect(await gateway.exited).toMatchObject({ signal: 'SIGKILL' });
      await gateway.restart();
      expect(await pushing).toMatchObject({ code: 0 });
      expect(bytes.equals(await readStored(minio!, bucket, key))).toBe(true);
    });
  });
});
