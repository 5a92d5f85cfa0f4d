import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { ProcessOutput } from './process-output.ts';
import { onFreePorts, ServerEnded, type StartedServer, startServer } from './start-server.ts';

const startServerModule = new URL('start-server.ts', import.meta.url).href;
const support = fileURLToPath(new URL('.', import.meta.url));

/** A server that starts another process, and says the ids of both. */
const family = 'sleep 600 & echo "child $!"; echo "self $$"; wait';

async function startFamily(server: StartedServer): Promise<number[]> {
  await server.waitForLine(/^self \d+$/m, { deadlineMs: 10_000 });
  return [...server.log().matchAll(/^(?:child|self) (\d+)$/gm)].map(([, pid]) => Number(pid));
}

function lives(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

async function until(condition: () => boolean): Promise<void> {
  const end = Date.now() + 20_000;
  while (!condition()) {
    if (Date.now() > end) throw new Error(`never: ${condition}`);
    await sleep(20);
  }
}

/** A process that starts the family and waits, in a process group of its own. */
async function startParent(folder: string): Promise<{ parent: ChildProcess; pids: number[] }> {
  const source = `
    import { startServer } from ${JSON.stringify(startServerModule)};
    const server = startServer({ command: 'bash', args: ['-c', ${JSON.stringify(family)}], folder: process.argv[1] });
    await server.waitForLine(/^self/m, { deadlineMs: 10_000 });
    console.log(server.log());
    setInterval(() => {}, 1_000);
  `;
  const parent = spawn(process.execPath, ['--input-type=module', '-e', source, folder], {
    detached: true,
    cwd: support,
  });
  const output = new ProcessOutput([parent.stdout, parent.stderr]);
  const ended = new Promise<never>((_, reject) => parent.once('close', () => reject(new Error(output.text))));
  ended.catch(() => undefined);
  await output.waitFor(/^self \d+$/m, { deadlineMs: 20_000, ended });
  return { parent, pids: [...output.text.matchAll(/^(?:child|self) (\d+)$/gm)].map(([, pid]) => Number(pid)) };
}

describe('a started server', () => {
  test('ends with all its processes, and its data is removed', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'partway-test-'));
    const server = startServer({ command: 'bash', args: ['-c', family], folder });
    const pids = await startFamily(server);
    expect(pids.filter(lives)).toHaveLength(2);
    await server.stop();
    expect(existsSync(folder)).toBe(false);
    await until(() => !pids.some(lives));
  });

  test.each([
    ['killed', (parent: ChildProcess) => parent.kill('SIGKILL')],
    ['killed with its process group', (parent: ChildProcess) => process.kill(-(parent.pid ?? 0), 'SIGKILL')],
    ['interrupted', (parent: ChildProcess) => process.kill(-(parent.pid ?? 0), 'SIGINT')],
  ])('ends when whoever started it is %s', async (_how, kill) => {
    const folder = await mkdtemp(join(tmpdir(), 'partway-test-'));
    const { parent, pids } = await startParent(folder);
    expect(pids.filter(lives)).toHaveLength(2);
    kill(parent);
    await until(() => !pids.some(lives) && !existsSync(folder));
  });

  test('ends when its time is over', async () => {
    const server = startServer({ command: 'bash', args: ['-c', family], lifetimeSeconds: 1 });
    const pids = await startFamily(server);
    await until(() => !pids.some(lives));
    await server.stop();
  });

  test('tells how it ended by itself, with its last words', async () => {
    const server = startServer({ command: 'bash', args: ['-c', 'echo no such luck; exit 7'] });
    await expect(server.ended).rejects.toMatchObject({ exitCode: 7, log: 'no such luck\n' });
  });
});

test('a server whose port was taken is started again on another', async () => {
  const ports: number[] = [];
  const port = await onFreePorts(1, async ([free = 0]) => {
    ports.push(free);
    if (ports.length === 1) throw new ServerEnded('server', 1, 'listen EADDRINUSE');
    return free;
  });
  expect(ports).toHaveLength(2);
  const server = createServer().listen(port, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  server.close();
});
