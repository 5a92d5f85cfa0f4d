import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdir, mkdtemp, readdir, readFile, realpath, rm, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { clusterIn } from '../../src/db/embedded/cluster.ts';
import { findPostmaster } from '../../src/db/embedded/pid-file.ts';
import { startPostmaster, stopPostmaster } from '../../src/db/embedded/postmaster.ts';
import { findPostgresPrograms } from '../../src/db/embedded/programs.ts';
import type { Tell } from '../../src/db/embedded/tell.ts';
import { findRunningEmbeddedPostgres, startEmbeddedPostgres } from '../../src/db/embedded-postgres.ts';

const gatewayProgram = fileURLToPath(new URL('../support/postgres-main.ts', import.meta.url));

describe('the embedded Postgres', () => {
  let folder: string;
  let pristine: string;
  let count = 0;
  const gateways = new Set<Gateway>();

  beforeAll(async () => {
    folder = await realpath(await mkdtemp(join(tmpdir(), 'partway-embedded-')));
    pristine = join(folder, 'pristine');
    const server = await startEmbeddedPostgres({ dataDir: pristine });
    await server.stop();
  });

  afterEach(async () => {
    for (const gateway of gateways) gateway.process.kill('SIGKILL');
    gateways.clear();
    for (const name of await readdir(folder)) await stopPostmaster(clusterIn(join(folder, name)));
  });

  afterAll(async () => {
    await rm(folder, { recursive: true, force: true, maxRetries: 5 });
  });

  /** A data directory with a cluster that does not run. */
  async function dataDir(): Promise<string> {
    const path = join(folder, `data-${++count}`);
    await cp(pristine, path, { recursive: true });
    return path;
  }

  /** A process of its own that holds the embedded Postgres, so that it can be killed. */
  async function startGateway(path: string): Promise<Gateway> {
    const gateway = await launchGateway(path);
    gateways.add(gateway);
    return gateway;
  }

  it('creates its cluster at the first start: UTF-8, checksums, a password, everything durable', async () => {
    const path = join(folder, 'first');
    await using server = disposable(await startEmbeddedPostgres({ dataDir: path }));
    const { rows } = await query(
      server.url,
      `SELECT name, setting FROM pg_settings WHERE name IN
        ('data_checksums', 'server_encoding', 'fsync', 'synchronous_commit', 'listen_addresses', 'max_connections')`,
    );
    expect(Object.fromEntries(rows.map((row) => [row.name, row.setting]))).toEqual({
      data_checksums: 'on',
      server_encoding: 'UTF8',
      fsync: 'on',
      synchronous_commit: 'on',
      listen_addresses: '127.0.0.1',
      max_connections: '100',
    });
    expect((await stat(clusterIn(path).passwordFile)).mode & 0o777).toBe(0o600);
    expect(await readdir(path)).toEqual(['postgres']);
    const stranger = new URL(server.url);
    stranger.password = 'guessed';
    await expect(query(stranger.href, 'SELECT')).rejects.toMatchObject({ code: '28P01' });
  });

  it('keeps what was committed from one start to the next', async () => {
    const path = await dataDir();
    const first = await startEmbeddedPostgres({ dataDir: path });
    await query(first.url, `CREATE TABLE kept AS SELECT 'here' AS value`);
    await first.stop();
    await using second = disposable(await startEmbeddedPostgres({ dataDir: path }));
    expect((await query(second.url, 'SELECT value FROM kept')).rows).toEqual([{ value: 'here' }]);
  });

  it('ends with stop, which called again leaves the server of the next gateway alone', async () => {
    const path = await dataDir();
    const server = await startEmbeddedPostgres({ dataDir: path });
    await Promise.all([server.stop(), server.stop()]);
    expect(await findPostmaster(clusterIn(path))).toBeUndefined();
    await expect(query(server.url, 'SELECT')).rejects.toMatchObject({ code: 'ECONNREFUSED' });

    await using next = disposable(await startEmbeddedPostgres({ dataDir: path }));
    await server.stop();
    expect((await query(next.url, 'SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
  });

  it('outlives a gateway that is killed, and the next one adopts it', async () => {
    const path = await dataDir();
    const killed = await startGateway(path);
    const before = await findPostmaster(clusterIn(path));
    await killed.kill();
    await using server = disposable(await startEmbeddedPostgres({ dataDir: path }));
    expect(server.url).toBe(killed.url);
    expect(await findPostmaster(clusterIn(path))).toEqual(before);
  });

  it('does not hear the terminal’s Ctrl-C', async () => {
    const path = await dataDir();
    const interrupted = await startGateway(path);
    const before = await findPostmaster(clusterIn(path));
    process.kill(-interrupted.pid, 'SIGINT');
    await interrupted.ended;
    expect(await findPostmaster(clusterIn(path))).toEqual(before);
    expect((await query(interrupted.url, 'SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
  });

  it('recovers what was committed after everything was killed', async () => {
    const path = await dataDir();
    const { url } = await killedWithServer(await startGateway(path), path, 'CREATE TABLE kept AS SELECT 7 AS value');
    await using server = disposable(await startEmbeddedPostgres({ dataDir: path }));
    expect(server.url).not.toBe(url);
    expect((await query(server.url, 'SELECT value FROM kept')).rows).toEqual([{ value: 7 }]);
  });

  it('starts after a crash though its old process id now belongs to another process', async () => {
    const path = await dataDir();
    await killedWithServer(await startGateway(path), path, 'CREATE TABLE kept AS SELECT 7 AS value');
    const { directory } = clusterIn(path);
    const other = spawn(process.execPath, ['-e', 'process.stdin.resume()'], { cwd: directory });
    await once(other, 'spawn');
    const pidFile = join(directory, 'postmaster.pid');
    await writeFile(pidFile, (await readFile(pidFile, 'utf8')).replace(/^\d+/, String(other.pid)));
    await using server = disposable(await startEmbeddedPostgres({ dataDir: path }));
    expect((await query(server.url, 'SELECT value FROM kept')).rows).toEqual([{ value: 7 }]);
    other.kill();
  });

  it('is not mistaken for the server of a copy of its data', async () => {
    const path = await dataDir();
    const copy = await dataDir();
    await using original = disposable(await startEmbeddedPostgres({ dataDir: path }));
    await cp(join(clusterIn(path).directory, 'postmaster.pid'), join(clusterIn(copy).directory, 'postmaster.pid'));
    expect(await findRunningEmbeddedPostgres(copy)).toBeUndefined();
    await using server = disposable(await startEmbeddedPostgres({ dataDir: copy }));
    expect(server.url).not.toBe(original.url);
    expect((await query(server.url, 'SHOW data_directory')).rows).toEqual([
      { data_directory: clusterIn(copy).directory },
    ]);
  });

  it('serves one gateway: a second is told which process has it and what to do', async () => {
    const path = await dataDir();
    const first = await startGateway(path);
    await expect(startEmbeddedPostgres({ dataDir: path })).rejects.toMatchObject({
      name: 'EmbeddedPostgresError',
      message: expect.stringMatching(
        new RegExp(`${path} .*process ${first.pid}\\b.*PARTWAY_DATA_DIR.*DATABASE_URL`, 's'),
      ),
    });
    expect((await query(first.url, 'SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
  });

  it('lets one of two gateways win that start at once on an empty directory', async () => {
    const path = join(folder, 'raced');
    const outcomes = await Promise.allSettled([startGateway(path), startGateway(path)]);
    const won = outcomes.filter((outcome) => outcome.status === 'fulfilled');
    expect(won).toHaveLength(1);
    expect(outcomes.find((outcome) => outcome.status === 'rejected')?.reason.message).toContain(
      `in use by another gateway or command, process ${won[0]?.value.pid}`,
    );
    expect(await readdir(path)).toEqual(['postgres']);
  });

  it('waits for a server that still shuts down, then starts its own', async () => {
    const path = await dataDir();
    const first = await startEmbeddedPostgres({ dataDir: path });
    const stopping = first.stop();
    await using server = disposable(await startEmbeddedPostgres({ dataDir: path }));
    await stopping;
    expect((await query(server.url, 'SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
  });

  it('is started again at the same address when it is killed', async () => {
    const path = await dataDir();
    const told: Parameters<Tell>[] = [];
    const log: Tell = (...line) => told.push(line);
    await using server = disposable(await startEmbeddedPostgres({ dataDir: path, log }));
    const killed = await findPostmaster(clusterIn(path));
    process.kill(killed!.pid, 'SIGKILL');
    await eventually(async () => expect((await query(server.url, 'SELECT 1 AS one')).rows).toEqual([{ one: 1 }]));
    expect((await findPostmaster(clusterIn(path)))?.pid).not.toBe(killed?.pid);
    expect(told).toContainEqual(['Postgres has cut its connections', 'warn']);
    await eventually(() => expect(startEmbeddedPostgres({ dataDir: path })).rejects.toThrow('in use by another'));
  });

  it('is found by tools beside its gateway, while it runs', async () => {
    const path = await dataDir();
    expect(await findRunningEmbeddedPostgres(path)).toBeUndefined();
    expect(await findRunningEmbeddedPostgres(join(folder, 'nothing-here'))).toBeUndefined();
    const server = await startEmbeddedPostgres({ dataDir: path });
    expect(await findRunningEmbeddedPostgres(path)).toEqual({ url: server.url });
    await server.stop();
    expect(await findRunningEmbeddedPostgres(path)).toBeUndefined();
  });

  it('does not start on a port that is taken', async () => {
    const cluster = clusterIn(await dataDir());
    const taken = createServer().listen(0, '127.0.0.1');
    await once(taken, 'listening');
    const address = taken.address();
    const port = typeof address === 'object' ? address?.port : undefined;
    expect(await startPostmaster(cluster, await findPostgresPrograms(), { port })).toBe(false);
    await once(taken.close(), 'close');
    expect(await startPostmaster(cluster, await findPostgresPrograms(), { port })).toBe(true);
  });

  it('takes a long path with spaces, quotes, dollars and other scripts', async () => {
    const path = join(folder, `it's "quoted" $HOME \`x\``, 'данные ü 🦊', 'long'.repeat(40));
    const server = await startEmbeddedPostgres({ dataDir: path });
    expect((await query(server.url, 'SELECT 1 AS one')).rows).toEqual([{ one: 1 }]);
    await server.stop();
  });

  it('says what to set where it cannot keep its data', async () => {
    const file = join(folder, 'file');
    await writeFile(file, '');
    await expect(startEmbeddedPostgres({ dataDir: join(file, 'below') })).rejects.toMatchObject({
      name: 'EmbeddedPostgresError',
      message: expect.stringMatching(/file\/below: ENOTDIR.*PARTWAY_DATA_DIR.*DATABASE_URL/s),
    });
    await rm(file);
  });

  it('says what Postgres said where it does not start', async () => {
    const path = await dataDir();
    await writeFile(join(clusterIn(path).directory, 'PG_VERSION'), '17\n');
    await expect(startEmbeddedPostgres({ dataDir: path })).rejects.toMatchObject({
      name: 'EmbeddedPostgresError',
      message: expect.stringMatching(/did not start:.*initialized by PostgreSQL version 17.*DATABASE_URL/s),
    });
  });

  it('leaves nothing of a first start that is called off, and removes what a killed one left', async () => {
    const path = join(folder, 'called-off');
    const stop = new AbortController();
    const told: Parameters<Tell>[] = [];
    const log: Tell = (...line) => {
      told.push(line);
      stop.abort(new Error('called off'));
    };
    await expect(startEmbeddedPostgres({ dataDir: path, log, signal: stop.signal })).rejects.toThrow('called off');
    expect(told).toEqual([[`creating a Postgres cluster in ${clusterIn(path).directory}`, 'info']]);
    expect(await readdir(path)).toEqual([]);

    await mkdir(join(path, 'postgres-draft-killed', 'cluster'), { recursive: true });
    const server = await startEmbeddedPostgres({ dataDir: path });
    expect(await readdir(path)).toEqual(['postgres']);
    await server.stop();
  });

  it('does not go on running where its start is called off', async () => {
    const path = await dataDir();
    const stop = new AbortController();
    const log = () => stop.abort(new Error('called off'));
    await expect(startEmbeddedPostgres({ dataDir: path, log, signal: stop.signal })).rejects.toThrow('called off');
    expect(await findPostmaster(clusterIn(path))).toBeUndefined();

    const begun = startPostmaster(clusterIn(path), await findPostgresPrograms(), {
      port: undefined,
      signal: stop.signal,
    });
    await expect(begun).rejects.toThrow('called off');
    expect(await findPostmaster(clusterIn(path))).toBeUndefined();
  });
});

interface Gateway {
  readonly process: ChildProcess;
  readonly pid: number;
  readonly url: string;
  readonly ended: Promise<unknown>;
  kill(): Promise<void>;
}

async function launchGateway(path: string): Promise<Gateway> {
  const child = spawn(process.execPath, [gatewayProgram, path], { detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = once(child, 'exit');
  let errors = '';
  child.stderr.on('data', (chunk) => {
    errors += chunk;
  });
  for await (const chunk of child.stdout) {
    const url = /listening on (\S+)/.exec(String(chunk))?.[1];
    if (url === undefined) continue;
    const kill = async () => {
      child.kill('SIGKILL');
      await ended;
    };
    return { process: child, pid: child.pid!, url, ended, kill };
  }
  await ended;
  throw new Error(errors);
}

async function killedWithServer(gateway: Gateway, path: string, statement: string): Promise<Gateway> {
  await query(gateway.url, statement);
  const server = await findPostmaster(clusterIn(path));
  await gateway.kill();
  process.kill(server!.pid, 'SIGKILL');
  return gateway;
}

async function query(url: string, statement: string) {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => undefined);
  await client.connect();
  try {
    return await client.query(statement);
  } finally {
    await client.end();
  }
}

async function eventually(check: () => Promise<void>): Promise<void> {
  const deadline = Date.now() + 10_000;
  for (;;) {
    try {
      return await check();
    } catch (error) {
      if (Date.now() > deadline) throw error;
      await sleep(20);
    }
  }
}

function disposable<T extends { stop(): Promise<void> }>(started: T): T & AsyncDisposable {
  return Object.assign(started, { [Symbol.asyncDispose]: () => started.stop() });
}
