import { execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { access, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { packProject, pathWithNode, run } from '../support/pack-project.ts';
import { ProcessOutput } from '../support/process-output.ts';
import { startServer } from '../support/start-server.ts';

let folder: string;
let home: string;
let program: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'partway-package-'));
  home = join(folder, 'home');
  const tarball = await packProject(folder);
  await mkdir(home);
  await run('npm', ['install', '--prefer-offline', '--no-audit', '--no-fund', tarball], { cwd: home, env });
  program = join(home, 'node_modules/.bin/partway');
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const env = { ...process.env, PATH: pathWithNode };

interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

function outcomeOf(command: string, args: readonly string[]): Promise<Outcome> {
  return new Promise((resolve) => {
    const child = execFile(command, args, { cwd: home, env }, (_error, stdout, stderr) =>
      resolve({ code: child.exitCode, stdout, stderr }),
    );
  });
}

describe('the package, installed into an empty folder', () => {
  it('runs by npx, and shows its commands and exit codes', async () => {
    const { code, stdout, stderr } = await outcomeOf('npx', ['--offline', 'partway', '--help']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(/^Usage: partway /);
    expect(stdout).toContain('run the gateway');
    expect(stdout).toContain('Exit codes:\n    0  ok\n    1  unexpected\n    2  usage\n');
    expect(stdout).toContain('  143  terminated\n');
  });

  it('tells its version', async () => {
    const { version } = JSON.parse(await readFile(join(home, 'node_modules/partway/package.json'), 'utf8'));
    expect(await outcomeOf(program, ['--version'])).toEqual({ code: 0, stdout: `${version}\n`, stderr: '' });
  });

  it('finds what a command loads only when it runs', async () => {
    const doctor = await outcomeOf(program, ['doctor']);
    expect(doctor).toMatchObject({ code: 0, stderr: '' });
    expect(doctor.stdout).toContain('✓ the settings are valid');
    expect(await outcomeOf(program, ['completion', 'bash'])).toMatchObject({ code: 0, stderr: '' });
    const gc = await outcomeOf(program, ['gc', '--dry-run']);
    expect(gc).toMatchObject({ code: 2, stdout: '' });
    expect(gc.stderr).toContain('no gateway has run in');
  });

  it('serves with nothing else there, takes an upload, and ends in order', async () => {
    const dataDir = join(home, 'data');
    await mkdir(dataDir);
    const server = startServer({
      command: program,
      args: ['serve'],
      env: { PATH: pathWithNode, PARTWAY_DATA_DIR: dataDir, PARTWAY_PORT: '0' },
    });
    try {
      const [, url = ''] = await server.waitForLine(/listening on (http:\S+)$/m, { deadlineMs: 60_000 });
      const content = randomBytes(100_000);
      await writeFile(join(home, 'file.bin'), content);
      const { stdout } = await run('curl', ['-sS', '-f', '-T', join(home, 'file.bin'), `${url}/objects/in/file.bin`]);
      expect(JSON.parse(stdout)).toMatchObject({ state: 'completed', size: content.length });
      const back = await fetch(`${url}/objects/in/file.bin`);
      expect(Buffer.from(await back.arrayBuffer()).equals(content)).toBe(true);
      const file = join(home, 'large.bin');
      await writeFile(file, randomBytes(9_000_000));
      const pushed = await outcomeOf(program, ['push', file, 'pushed', '--server', url]);
      expect(pushed).toMatchObject({ code: 0, stdout: expect.stringMatching(/^pushed\t9000000\t/) });
      const script = `import { upload } from 'partway/sdk';
        const { digest } = await upload({ path: '${file}' }, { server: '${url}', key: 'by-sdk' }).finished;
        console.log(digest);`;
      const bySdk = await outcomeOf(process.execPath, ['--input-type=module', '-e', script]);
      expect(bySdk).toMatchObject({ code: 0, stdout: expect.stringMatching(/^crc32=:.*:\n$/) });
      const reference = await fetch(`${url}/docs`);
      expect(reference.status).toBe(200);
    } finally {
      await server.stop();
    }
    await expect(access(join(dataDir, 'postgres/cluster/postmaster.pid'))).rejects.toThrow('ENOENT');
  });

  it('opens no debugger to whoever sends SIGUSR1', async () => {
    const child = spawn(program, ['serve'], {
      env: { PATH: pathWithNode, PARTWAY_DATA_DIR: join(home, 'data'), PARTWAY_PORT: '0' },
    });
    const output = new ProcessOutput([child.stdout, child.stderr]);
    const ended = new Promise<never>((_, reject) => child.once('exit', () => reject(new Error(output.text))));
    const exit = new Promise((resolve) => child.once('close', resolve));
    try {
      const [, url = ''] = await output.waitFor(/listening on (http:\S+)$/m, { deadlineMs: 60_000, ended });
      child.kill('SIGUSR1');
      // By then it has met the signal.
      expect((await fetch(`${url}/healthz`)).status).toBe(200);
      await expect.poll(() => readFile(`/proc/${child.pid}/status`, 'utf8')).toMatch(/^SigPnd:\t0+$/m);
    } finally {
      ended.catch(() => undefined);
      child.kill('SIGTERM');
      await exit;
    }
    expect(output.text).not.toContain('Debugger');
  });

  it('says in one line that a Node is too old for it, exit 2', async () => {
    const older = join(folder, 'older.cjs');
    await writeFile(older, "Object.defineProperty(process.versions, 'node', { value: '22.17.9' });\n");
    const { code, stdout, stderr } = await outcomeOf(process.execPath, ['-r', older, program, 'serve']);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toMatch(/^partway needs Node 22\.18 or newer; this is v\S+ \(.*\)\n$/);
  });

  it('says so on a Node that really is older', async (context) => {
    const system = await outcomeOf('/usr/bin/node', ['--version']);
    const major = Number(/^v(\d+)/.exec(system.stdout)?.[1]);
    context.skip(!(major < 22), 'this machine has no older Node at /usr/bin/node');
    const { code, stdout, stderr } = await outcomeOf('/usr/bin/node', [program, 'serve']);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toBe(`partway needs Node 22.18 or newer; this is ${system.stdout.trim()} (/usr/bin/node)\n`);
  });
});
