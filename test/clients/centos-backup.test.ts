import { spawn } from 'node:child_process';
import { chmod, copyFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type RestGateway, startRestGateway } from '../protocols/rest/rest-gateway.ts';
import { findPythons } from '../support/pythons.ts';

const sources = fileURLToPath(new URL('../../infra/centos/', import.meta.url));
const pythons = await findPythons();
const hasSystemd = (await run('systemd-analyze', ['--version']).catch(() => ({ code: 1 }))).code === 0;
if (!hasSystemd) console.warn('\n  NOT TESTED: the units of infra/centos, as there is no systemd-analyze.\n');

test.skipIf(!hasSystemd)('systemd finds nothing wrong with the units', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'partway-units-'));
  try {
    const units = (await readdir(sources)).filter((name) => /\.(service|timer)$/.test(name));
    expect(units).toHaveLength(3);
    for (const unit of units) {
      // Where it is not installed, the program is where it is kept.
      const text = (await readFile(join(sources, unit), 'utf8')).replaceAll('/usr/local/sbin/', sources);
      await writeFile(join(folder, unit), text.replaceAll('/usr/bin/logger', '/bin/sh'));
    }
    const verified = await run('systemd-analyze', ['verify', ...units.map((unit) => join(folder, unit))]);
    expect(verified).toEqual({ code: 0, output: '' });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

describe.skipIf(pythons.length === 0)('the nightly backup', () => {
  const today = new Date().toISOString().slice(0, 10);
  let gateway: RestGateway;
  let folder: string;

  beforeAll(async () => {
    gateway = await startRestGateway('disk');
  });

  afterAll(() => gateway.stop());

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'partway-backup-'));
    await mkdir(join(folder, 'bin'));
    await mkdir(join(folder, 'etc'));
    await writeFile(join(folder, 'etc/hosts'), '127.0.0.1 localhost\n');
  });

  afterEach(() => rm(folder, { recursive: true, force: true }));

  const spooled = () => readdir(join(folder, 'state/spool'));

  /** A program of the host, as the test wants it to be. */
  async function provide(name: string, script: string): Promise<string> {
    const path = join(folder, 'bin', name);
    await writeFile(path, script);
    await chmod(path, 0o755);
    return path;
  }

  const backUp = (settings: Record<string, string>) =>
    run(join(sources, 'partway-backup.sh'), [], {
      PATH: [join(folder, 'bin'), process.env.PATH].join(delimiter),
      TZ: 'UTC',
      PARTWAY_URL: gateway.url,
      BACKUP_STATE: join(folder, 'state'),
      BACKUP_DIRECTORY: join(folder, 'etc'),
      ...settings,
    });

  test('a directory and a database arrive, once a day, and leave the spool', async () => {
    await provide('pg_dump', '#!/bin/sh\nprintf "%s " "$@"\n');
    const settings = { BACKUP_PREFIX: 'both', BACKUP_DATABASE: 'postgresql://backup@localhost/app?sslmode=require' };
    expect(await backUp(settings)).toMatchObject({ code: 0 });
    const archive = (await gateway.client.read(`both/etc-${today}.tar.gz`)).bytes;
    expect(gunzipSync(archive).toString()).toContain('127.0.0.1 localhost\n');
    const dump = (await gateway.client.read(`both/app-${today}.dump`)).bytes;
    expect(dump.toString()).toBe('-Fc postgresql://backup@localhost/app?sslmode=require ');
    expect(await spooled()).toEqual([]);
    expect(await backUp(settings)).toEqual({ code: 0, output: '' });
  });

  test('without a gateway it ends with 5 and keeps the spool, for the next run to push', async () => {
    const settings = { BACKUP_PREFIX: 'later', PARTWAY_GIVE_UP_AFTER: '0.1' };
    expect(await backUp({ ...settings, PARTWAY_URL: 'http://127.0.0.1:9' })).toMatchObject({ code: 5 });
    const [name = ''] = await spooled();
    await copyFile(join(folder, 'state/spool', name), join(folder, 'kept'));
    await writeFile(join(folder, 'etc/hosts'), 'of a later time\n');
    expect(await backUp(settings)).toMatchObject({ code: 0 });
    expect((await gateway.client.read(`later/${name}`)).bytes.equals(await readFile(join(folder, 'kept')))).toBe(true);
  });

  test('with nothing to back up is no success', async () => {
    expect(await backUp({ BACKUP_DIRECTORY: '', BACKUP_DATABASE: '' })).toMatchObject({ code: 1 });
  });

  test('half a dump is never pushed; what could be made is', async () => {
    await provide('pg_dump', '#!/bin/sh\necho half\nexit 1\n');
    expect(await backUp({ BACKUP_PREFIX: 'half', BACKUP_DATABASE: 'app' })).toMatchObject({ code: 1 });
    const { uploads } = await gateway.client.list('?prefix=half');
    expect(uploads.map(({ key }) => key)).toEqual([`half/etc-${today}.tar.gz`]);
    expect(await spooled()).toEqual([]);
  });

  test.each([
    [8, ['aaa-refused', 'zzz'], ['aaa-refused']],
    [5, ['aaa-refused'], ['aaa-refused', 'zzz']],
  ])('a file that ends with %d: the others are pushed, unless they would meet the same', async (ends, tried, left) => {
    const client = await provide(
      'refusing.py',
      `import sys\nprint(sys.argv[1].split('/')[-1])\nsys.exit(${ends} if 'aaa' in sys.argv[1] else 0)\n`,
    );
    await mkdir(join(folder, 'state/spool'), { recursive: true });
    for (const name of ['aaa-refused', 'zzz']) await writeFile(join(folder, 'state/spool', name), name);
    const { code, output } = await backUp({ BACKUP_DIRECTORY: '', BACKUP_DATABASE: 'none', PARTWAY_PUSH: client });
    expect(code).toBe(ends);
    expect(
      output
        .trim()
        .split('\n')
        .filter((line) => tried.includes(line)),
    ).toEqual(tried);
    expect(await spooled()).toEqual(left);
  });

  test('what the gateway has forgotten is pushed anew', async () => {
    const client = await provide(
      'forgotten.py',
      'import sys\nprint(sys.argv[2:])\nsys.exit(0 if "--restart" in sys.argv else 4)\n',
    );
    const { code, output } = await backUp({ BACKUP_PREFIX: 'anew', PARTWAY_PUSH: client });
    expect(code).toBe(0);
    expect(output.trim().split('\n')).toEqual([
      expect.not.stringContaining('--restart'),
      expect.stringContaining('--restart'),
    ]);
    expect(await spooled()).toEqual([]);
  });
});

function run(command: string, args: readonly string[], env: NodeJS.ProcessEnv = process.env) {
  return new Promise<{ code: number | null; output: string }>((resolve, reject) => {
    const child = spawn(command, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        output += text;
      });
    }
    child.once('error', reject);
    child.once('close', (code) => resolve({ code, output }));
  });
}
