import { execFile, spawn } from 'node:child_process';
import { appendFile, mkdir, mkdtemp, readdir, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import stringWidth from 'string-width';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { bytesOf } from '../protocols/rest/rest-client.ts';
import {
  bytesIn,
  isComplete,
  isData,
  isPart,
  MiB,
  partBytes,
  type SdkGateway,
  startSdkGateway,
} from '../sdk/sdk-gateway.ts';
import { ProcessOutput } from '../support/process-output.ts';
import { program } from '../support/run-partway.ts';

interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

interface Running {
  readonly ended: Promise<Ended>;
  readonly stderr: ProcessOutput;
  readonly stdin: NodeJS.WritableStream;
  kill(signal: NodeJS.Signals): void;
  /** Nobody reads its standard output any more. */
  closeOutput(): void;
}

const ptyProgram = fileURLToPath(new URL('../support/run_in_terminal.py', import.meta.url));

let sdk: SdkGateway;
let folder: string;
const running = new Set<Running>();

beforeAll(async () => {
  sdk = await startSdkGateway();
  folder = await mkdtemp(join(tmpdir(), 'partway-cli-push-'));
});

afterAll(async () => {
  await sdk?.stop();
  await rm(folder, { recursive: true, force: true });
});

beforeEach(() => sdk.clear());

afterEach(() => {
  for (const each of running) each.kill('SIGKILL');
});

const environment = (env: Record<string, string> = {}) => ({
  PATH: process.env.PATH,
  HOME: folder,
  XDG_STATE_HOME: join(folder, 'state'),
  PARTWAY_URL: sdk.line.url,
  ...env,
});

function start(args: readonly string[], env?: Record<string, string>): Running {
  const child = spawn(process.execPath, [program, ...args], {
    cwd: folder,
    env: environment(env),
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  child.stdin.on('error', () => {});
  const stdout = new ProcessOutput([child.stdout]);
  const stderr = new ProcessOutput([child.stderr]);
  const ended = new Promise<Ended>((resolve) => {
    child.once('close', (code, signal) => {
      running.delete(started);
      resolve({ code, signal, stdout: stdout.text, stderr: stderr.text });
    });
  });
  const started = {
    ended,
    stderr,
    stdin: child.stdin,
    kill: (signal: NodeJS.Signals) => void child.kill(signal),
    closeOutput: () => void child.stdout.destroy(),
  };
  running.add(started);
  return started;
}

function run(command: string, args: readonly string[]): Promise<Ended> {
  return new Promise((resolve) => {
    const child = execFile(command, args, { cwd: folder, env: environment() }, (_error, stdout, stderr) =>
      resolve({ code: child.exitCode, signal: child.signalCode, stdout, stderr }),
    );
  });
}

const partway = (args: readonly string[], env?: Record<string, string>): Promise<Ended> => {
  const started = start(args, env);
  started.stdin.end();
  return started.ended;
};

/** What it draws in a terminal. */
function inTerminal(columns: number, args: readonly string[], env: Record<string, string> = {}): Promise<string> {
  return new Promise((resolve) =>
    execFile(
      'python3',
      [ptyProgram, String(columns), process.execPath, program, ...args],
      { cwd: folder, env: environment({ LC_ALL: 'C.UTF-8', TERM: 'xterm', ...env }) },
      (_error, stdout) => resolve(stdout),
    ),
  );
}

async function fileOf(name: string, bytes: Uint8Array): Promise<string> {
  await writeFile(join(folder, name), bytes);
  return name;
}

async function expectStored(key: string, bytes: Uint8Array): Promise<void> {
  expect((await sdk.gateway.client.read(key)).bytes.equals(bytes)).toBe(true);
}

const jsonLines = ({ stdout }: Ended) =>
  stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);

const stateFiles = () => readdir(join(folder, 'state/partway')).catch(() => []);

describe('a file', () => {
  test('arrives under its name; its key, size and ETag are told, and nothing is left of its state', async () => {
    const bytes = bytesOf(2 * partBytes + 5, 'arrives');
    const { code, stdout, stderr } = await partway(['push', await fileOf('arrives', bytes)]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    await expectStored('arrives', bytes);
    const { etag } = (await sdk.gateway.client.list('?prefix=arrives')).uploads[0]!;
    expect(stdout).toBe(`arrives\t${bytes.length}\t${etag}\n`);
    expect(await stateFiles()).toEqual([]);
  });

  test('killed with -9 and pushed again, only what is missing is sent', async () => {
    const bytes = bytesOf(8 * partBytes, 'killed');
    const args = ['push', await fileOf('killed', bytes), '--relay', '--parallel', '2'];
    const held = sdk.line.rule({
      match: isPart,
      after: 3,
      fault: { kind: 'hold', at: { on: 'request', afterBytes: MiB } },
    });
    const first = start(args);
    await held.reached;
    await expect.poll(() => sdk.line.requests.filter((r) => isPart(r) && r.status === 200).length).toBe(3);
    first.kill('SIGKILL');
    expect(await first.ended).toMatchObject({ signal: 'SIGKILL' });
    sdk.clear();
    expect(await partway(args)).toMatchObject({ code: 0, stderr: 'killed: resumed at 24.0 MiB, not sent again\n' });
    expect(bytesIn(sdk.line, isData)).toBe(5 * partBytes);
    await expectStored('killed', bytes);
  });

  test('interrupted, it is kept, and the command that goes on with it is told', async () => {
    const bytes = bytesOf(2 * partBytes, 'kept');
    const path = await fileOf("it's kept", bytes);
    const held = sdk.line.rule({ match: isPart, fault: { kind: 'hold' } });
    const push = start(['push', path, '--relay', '--restart']);
    await held.reached;
    push.kill('SIGINT');
    expect(await push.ended).toMatchObject({
      code: 130,
      stderr:
        "partway: The upload is kept with 0 B of 16.0 MiB stored. This goes on with it: partway push 'it'\\''s kept' --relay\n",
    });
    sdk.clear();
    expect(await partway(['push', path, '--relay'])).toMatchObject({ code: 0 });
    await expectStored("it's kept", bytes);
  });

  test('without a terminal it outlives the one that it was begun from, as nohup wants it', async () => {
    const bytes = bytesOf(2 * partBytes, 'nohup');
    const held = sdk.line.rule({ match: isPart, times: 1, fault: { kind: 'hold' } });
    const push = start(['push', await fileOf('nohup', bytes), '--relay']);
    await held.reached;
    push.kill('SIGHUP');
    held.release();
    expect(await push.ended).toMatchObject({ code: 0, signal: null });
    await expectStored('nohup', bytes);
  });

  test.runIf(process.platform === 'linux')(
    'whose result can not be printed is pushed, and its code says so',
    async () => {
      const bytes = bytesOf(5, 'unprinted');
      const name = await fileOf('unprinted', bytes);
      const { code, stderr } = await run('sh', ['-c', `${process.execPath} ${program} push ${name} >/dev/full`]);
      expect({ code, stderr }).toEqual({ code: 1, stderr: '' });
      await expectStored('unprinted', bytes);
    },
  );

  test('is pushed by one process at a time', async () => {
    const path = await fileOf('twice', bytesOf(partBytes, 'twice'));
    const held = sdk.line.rule({ match: isPart, fault: { kind: 'hold' } });
    const first = start(['push', path]);
    await held.reached;
    expect(await partway(['push', path])).toMatchObject({ code: 8, stderr: expect.stringContaining('already') });
    held.release();
    expect(await first.ended).toMatchObject({ code: 0 });
  });

  test('whose readers have gone is pushed all the same', async () => {
    const bytes = bytesOf(2 * partBytes, 'unread');
    const push = start(['push', await fileOf('unread', bytes), '--json']);
    push.closeOutput();
    expect(await push.ended).toMatchObject({ code: 0 });
    await expectStored('unread', bytes);
  });

  test('that is a pipe with a name is refused, and not waited for', async () => {
    await promisify(execFile)('mkfifo', [join(folder, 'named-pipe')]);
    const { code, stderr } = await partway(['push', 'named-pipe']);
    expect({ code, stderr }).toEqual({ code: 3, stderr: expect.stringContaining('is not a regular file') });
  });

  test('with a file for the key that is empty is not pushed without one', async () => {
    const path = await fileOf('keyed', bytesOf(5));
    const { code, stderr } = await partway(['push', path, '--api-key-file', await fileOf('no-key', Buffer.from('\n'))]);
    expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringContaining('it is empty') });
  });

  test('that changed since is not completed; --restart begins anew', async () => {
    const path = await fileOf('changed', bytesOf(partBytes, 'changed'));
    const held = sdk.line.rule({ match: isPart, fault: { kind: 'hold' } });
    const push = start(['push', path]);
    await held.reached;
    push.kill('SIGTERM');
    expect(await push.ended).toMatchObject({ code: 143 });
    sdk.clear();
    await appendFile(join(folder, path), 'more');
    expect(await partway(['push', path])).toMatchObject({ code: 3, stderr: expect.stringContaining('has changed') });
    expect(sdk.line.requests.some(isComplete)).toBe(false);
    expect(await partway(['push', path, '--restart'])).toMatchObject({ code: 0 });
  });

  test('begun without --if-none-match and gone on with it, overwrites nothing', async () => {
    const there = bytesOf(5, 'there');
    await partway(['push', await fileOf('there', there), 'taken']);
    sdk.clear();
    const name = await fileOf('rival', bytesOf(2 * partBytes, 'rival'));
    const held = sdk.line.rule({ match: isPart, fault: { kind: 'hold' } });
    const push = start(['push', name, 'taken', '--relay']);
    await held.reached;
    push.kill('SIGINT');
    await push.ended;
    sdk.clear();
    expect(await partway(['push', name, 'taken', '--relay', '--if-none-match'])).toMatchObject({ code: 8 });
    expect(sdk.line.requests.filter(isData)).toEqual([]);
    await expectStored('taken', there);
  });

  test('refused at the start leaves nothing to go on with, and names what was typed', async () => {
    const name = await fileOf('refused', bytesOf(5, 'refused'));
    const before = await stateFiles();
    const refused = await partway(['push', name, '--content-type', 'none at all']);
    expect(refused).toMatchObject({ code: 8, stderr: expect.stringMatching(/^partway: --content-type/) });
    expect(await stateFiles()).toEqual(before);
  });

  test('refused at the end tells that what was sent is kept, and how to drop it', async () => {
    const name = await fileOf('kept', bytesOf(5, 'kept'));
    const { code, stderr } = await partway(['push', name, '--digest', 'crc32=:AAAAAA==:']);
    expect(code).toBe(7);
    const [, id = ''] = /partway abort (\w+) drops it/.exec(stderr) ?? [];
    expect(await sdk.gateway.client.look(id)).toMatchObject({ state: 'open' });
  });

  test('that is sparse is planned without being read', async () => {
    const path = await fileOf('sparse', new Uint8Array());
    await truncate(join(folder, path), 4 * 1024 ** 4);
    const held = sdk.line.rule({ match: isPart, fault: { kind: 'hold' } });
    const push = start(['push', path, '--relay', '--parallel', '1']);
    await held.reached;
    expect(Number(sdk.line.requests.find(isPart)!.headers.get('content-length'))).toBeGreaterThan(400 * MiB);
    push.kill('SIGINT');
    expect(await push.ended).toMatchObject({ code: 130 });
  });

  test('that is missing ends with 3', async () => {
    expect(await partway(['push', 'nowhere'])).toMatchObject({
      code: 3,
      stderr: 'partway: nowhere: there is no such file\n',
    });
  });

  test('a gateway that can not be reached ends with 5, a name without one with 2', async () => {
    const path = await fileOf('away', bytesOf(5));
    expect(
      await partway(['push', path, '--give-up-after', '0.1'], { PARTWAY_URL: 'http://127.0.0.1:1' }),
    ).toMatchObject({
      code: 5,
    });
    expect(await partway(['push', path], { PARTWAY_URL: '' })).toMatchObject({ code: 2 });
    expect(await partway(['push', path], { PARTWAY_URL: 'nonsense' })).toMatchObject({ code: 2 });
    expect(await partway(['push', path, '--parallel', '0'])).toMatchObject({ code: 2 });
    expect(await partway(['push', path, '--limit-rate', 'fast'])).toMatchObject({ code: 2 });
    const digest = ['--digest', 'crc32=:AAAAAA==:'];
    expect(await partway(['push', path, ptyProgram, '--prefix', '', ...digest])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('is of one file'),
    });
  });

  test('in JSON: what begins, what was retried, what was pushed, and on failure whether it can go on', async () => {
    const path = await fileOf('json', bytesOf(5, 'json'));
    sdk.line.rule({ match: isPart, times: 2, fault: { kind: 'reset' } });
    const lines = jsonLines(await partway(['push', path, '--json']));
    expect(lines.map(({ message_type }) => message_type)).toEqual(
      expect.arrayContaining(['start', 'mode', 'retry', 'pushed', 'summary']),
    );
    expect(lines.at(-1)).toMatchObject({ message_type: 'summary', files: 1, failed: 0, size: 5 });
    sdk.line.rule({ match: isPart, fault: { kind: 'reset' } });
    const failed = jsonLines(await partway(['push', path, '--json', '--give-up-after', '0.1']));
    expect(failed.find(({ message_type }) => message_type === 'error')).toMatchObject({
      code: 'gave_up',
      exitCode: 5,
      uploadId: expect.any(String),
      resumable: true,
    });
  });
});

describe('several files', () => {
  test('and folders arrive under keys that begin with the prefix; links are told, and left', async () => {
    await mkdir(join(folder, 'folder/inner'), { recursive: true });
    await fileOf('folder/a', bytesOf(5, 'a'));
    await fileOf('folder/inner/b', bytesOf(6, 'b'));
    await symlink('a', join(folder, 'folder/link'));
    expect((await partway(['push', '--prefix', 'dot/', 'folder/inner/.'])).stdout).toMatch(/^dot\/inner\/b\t/);
    const alone = await fileOf('alone', bytesOf(7, 'alone'));
    const { code, stdout, stderr } = await partway(['push', '--prefix', 'p/', 'folder', alone]);
    expect({ code, keys: stdout.split('\n').map((line) => line.split('\t')[0]) }).toEqual({
      code: 0,
      keys: ['p/folder/a', 'p/folder/inner/b', 'p/alone', ''],
    });
    expect(stderr).toContain('folder/link is no regular file');
    expect(stderr).toMatch(/3 files pushed: 18 B, 18 B sent in/);
    await expectStored('p/folder/inner/b', bytesOf(6, 'b'));
  });

  test('those that came before a break are not sent again, unless they have changed; once all are there everything is', async () => {
    const paths = await Promise.all(['x', 'y', 'z'].map((name) => fileOf(`several-${name}`, bytesOf(1000, name))));
    const args = ['push', '--prefix', 's/', ...paths];
    const others = await stateFiles();
    const held = sdk.line.rule({ match: isData, after: 2, fault: { kind: 'hold' } });
    const first = start(args);
    await held.reached;
    first.kill('SIGKILL');
    await first.ended;
    sdk.clear();
    await appendFile(join(folder, 'several-y'), 'more');
    const { code, stderr } = await partway(args);
    expect({ code, stderr }).toEqual({
      code: 0,
      stderr: expect.stringMatching(
        /^several-x: is pushed already \(--restart pushes it again\)\n3 files pushed: 2.9 KiB, 2.0 KiB sent in/,
      ),
    });
    expect(bytesIn(sdk.line, isData)).toBe(2004);
    await expectStored('s/several-y', Buffer.concat([bytesOf(1000, 'y'), Buffer.from('more')]));
    expect(await stateFiles()).toEqual(others);
    sdk.clear();
    expect(await partway(args)).toMatchObject({ code: 0 });
    expect(bytesIn(sdk.line, isData)).toBe(3004);
  });

  test('one that fails does not keep the others, and its code is the exit code', async () => {
    const one = await fileOf('one', bytesOf(5));
    const { code, stdout, stderr } = await partway(['push', '--prefix', 'q/', 'folder/link', one]);
    expect({ code, stdout: stdout.split('\t')[0] }).toEqual({ code: 0, stdout: 'q/link' });
    expect(stderr).toContain('2 files pushed');
    const refused = await partway(['push', '--prefix', '../', one, 'folder/a']);
    expect(refused).toMatchObject({ code: 8, stderr: expect.stringContaining('0 files pushed, 2 failed') });
  });

  test('whether a second name is a file or the key is not guessed', async () => {
    const one = await fileOf('first', bytesOf(1));
    const two = await fileOf('second', bytesOf(2));
    expect(await partway(['push', one, two])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('--key second'),
    });
    expect(await partway(['push', one, '--key', two])).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^second\t1\t/),
    });
    expect(await partway(['push', one, 'k/of/its-own'])).toMatchObject({
      stdout: expect.stringMatching(/^k\/of\/its-own\t/),
    });
  });
});

describe('what comes once', () => {
  test('standard input arrives', async () => {
    const bytes = bytesOf(2 * partBytes + 5, 'stdin');
    const push = start(['push', '-', 'piped']);
    push.stdin.end(bytes);
    expect(await push.ended).toMatchObject({ code: 0, stdout: expect.stringMatching(/^piped\t16777221\t/) });
    await expectStored('piped', bytes);
    expect(await partway(['push', '-'])).toMatchObject({ code: 2 });
    expect(await partway(['push', '-', 'key', '--restart'])).toMatchObject({ code: 2 });
  });

  test("a command's output arrives once the command has ended well", async () => {
    const { code } = await partway(['push', 'made', '--from-command', '--', 'head', '-c', '9000000', '/dev/zero']);
    expect(code).toBe(0);
    await expectStored('made', Buffer.alloc(9_000_000));
  });

  test.each([
    ['exit 7', 7],
    ['kill -9 $$', 137],
    ['kill -XCPU $$', 152],
  ])('one that fails (%s) makes no object, and its code is the exit code', async (failure, expected) => {
    const script = `head -c 20000000 /dev/zero; ${failure}`;
    const { code } = await partway(['push', `failing-${expected}`, '--from-command', '--', 'sh', '-c', script]);
    expect(code).toBe(expected);
    expect(sdk.line.requests.some(isComplete)).toBe(false);
    const [upload] = (await sdk.gateway.client.list(`?prefix=failing-${expected}`)).uploads;
    expect(upload).toMatchObject({ state: 'aborted' });
  });

  test('what is the key and what the command is not guessed', async () => {
    for (const args of [
      ['--', 'echo', 'hi'],
      ['key', 'echo', 'hi'],
      ['key', 'echo', '--', 'hi'],
    ]) {
      expect(await partway(['push', '--from-command', ...args])).toMatchObject({
        code: 2,
        stderr: expect.stringContaining('the key goes before --'),
      });
    }
  });

  test('a folder as standard input is no empty object', async () => {
    const script = `${process.execPath} ${program} push - folder <.`;
    expect(await run('sh', ['-c', script])).toMatchObject({ code: 3, stderr: expect.stringContaining('folder') });
  });

  test('a command without a name is none', async () => {
    const { code, stderr } = await partway(['push', 'none', '--from-command', '--', '']);
    expect({ code, stderr }).toMatchObject({ code: 2, stderr: expect.stringContaining('wants a key and the command') });
  });

  test('a command that is not there', async () => {
    const { code, stderr } = await partway(['push', 'none', '--from-command', '--', 'no-such-command']);
    expect({ code, stderr }).toMatchObject({ code: 127, stderr: expect.stringContaining('there is no command') });
  });

  test('interrupted, nothing of it is kept', async () => {
    const held = sdk.line.rule({ match: isPart, fault: { kind: 'hold' } });
    const push = start(['push', '-', 'broken-off']);
    push.stdin.write(bytesOf(2 * partBytes));
    await held.reached;
    push.kill('SIGINT');
    expect(await push.ended).toMatchObject({ code: 130 });
    expect((await sdk.gateway.client.list('?prefix=broken-off')).uploads).toMatchObject([{ state: 'aborted' }]);
  });

  test.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 143],
  ] as const)('%s ends it at once, though whoever writes to it neither writes nor ends', async (signal, expected) => {
    const push = start(['push', '-', `waits-${signal}`]);
    await sdk.line.waitFor(({ status }) => status === 201);
    push.kill(signal);
    expect(await push.ended).toMatchObject({ code: expected, signal: null });
    const { uploads } = await sdk.gateway.client.list(`?prefix=waits-${signal}`);
    expect(uploads).toMatchObject([{ state: 'aborted' }]);
  });
});

describe('in a terminal', () => {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: what a terminal is told
  const lines = (drawn: string) => drawn.split(/[\r\n]+|\u001b\[K/).map((line) => line.replace(/\u001b\[\d*m/g, ''));

  test.each([40, 80, 120, 200])('of %d columns the line is redrawn and never wraps', async (columns) => {
    const name = await fileOf(`ein sehr langer Name mit 漢字 darin-${columns}.img`, bytesOf(2 * partBytes, 'wide'));
    const drawn = await inTerminal(columns, ['push', name, '--relay', '--limit-rate', '24M']);
    const bars = lines(drawn).filter((line) => line.includes('%'));
    expect(bars.length).toBeGreaterThan(2);
    for (const line of bars) expect(stringWidth(line)).toBeLessThan(columns);
    expect(bars.at(-1)).toMatch(columns < 80 ? /\d+\.\d%/ : /━.* \d+\.\d% .*MiB/);
  });

  test('where nothing gets through it says why in place of how fast', async () => {
    const name = await fileOf('stands', bytesOf(4 * partBytes, 'stands'));
    sdk.line.rule({ match: isPart, after: 1, fault: { kind: 'answer', status: 503 } });
    const args = ['push', name, '--relay', '--parallel', '1', '--give-up-after', '3'];
    const standing = lines(await inTerminal(100, args)).filter((line) => line.includes('retr') && line.includes('%'));
    expect(standing.length).toBeGreaterThan(0);
    for (const line of standing) expect(line).toMatch(/HTTP status 503/);
    for (const line of standing) expect(line).not.toContain('/s');
  });

  test('that wants no colour none is sent', async () => {
    const name = await fileOf('plain', bytesOf(partBytes, 'plain'));
    const args = ['push', name, '--relay', '--limit-rate', '24M'];
    expect(await inTerminal(100, args)).toContain('\u001b[32m');
    expect(await inTerminal(100, args, { NO_COLOR: '1' })).not.toContain('\u001b[32m');
  });

  test('no control character of a name reaches it', async () => {
    const name = await fileOf('evil\u001b[2Jname', bytesOf(5));
    const drawn = await inTerminal(80, ['push', name, 'harmless', '--relay']);
    expect(drawn).not.toContain('\u001b[2J');
  });

  test('without one there is nothing but what was asked for', async () => {
    const name = await fileOf('asked', bytesOf(2 * partBytes, 'asked'));
    const held = sdk.line.rule({ match: isPart, fault: { kind: 'hold' } });
    const push = start(['push', name, '--relay', '-q']);
    await held.reached;
    push.kill('SIGUSR1');
    await push.stderr.waitFor(/^asked \d+\.\d% .*parts 0\/2.* in flight$/m, {
      deadlineMs: 10_000,
      ended: new Promise(() => {}),
    });
    held.release();
    expect(await push.ended).toMatchObject({ code: 0 });
  });
});

describe('uploads at the gateway', () => {
  test('are listed, looked at, given up and completed', async () => {
    const upload = await sdk.gateway.client.create({ key: 'cli/open', size: 5 });
    expect((await partway(['ls', 'cli/open'])).stdout).toMatch(
      new RegExp(`^${upload.id}\topen\t0 B of 5 B\t.*\tcli/open\n$`),
    );
    expect(JSON.parse((await partway(['status', upload.id, '--json'])).stdout)).toEqual(upload);
    expect((await partway(['parts', upload.id])).stdout).toBe('1\tmissing\t0\t5\n');
    expect(await partway(['complete', upload.id])).toMatchObject({
      code: 8,
      stderr: expect.stringContaining(`partway parts ${upload.id}`),
    });
    await sdk.gateway.client.putPart(upload.id, 1, bytesOf(5));
    expect((await partway(['parts', upload.id])).stdout).toMatch(/^1\tstored\t0\t5\t"/);
    expect((await partway(['complete', upload.id])).stdout).toContain('completed');
    expect(await partway(['abort', upload.id])).toMatchObject({ code: 8 });
    const other = await sdk.gateway.client.create({ key: 'cli/other', size: 5 });
    expect(await partway(['abort', other.id])).toMatchObject({ code: 0, stdout: '' });
    expect((await partway(['ls', '--state', 'aborted', 'cli/'])).stdout).toContain(`${other.id}\taborted\t-\t`);
  });

  test('that nobody knows end with 4', async () => {
    for (const command of ['status', 'parts', 'abort', 'complete']) {
      expect(await partway([command, 'nobody'])).toMatchObject({
        code: 4,
        stderr: expect.stringMatching(/^partway: /),
      });
    }
  });
});
