import { execFile } from 'node:child_process';
import { open, readdir, readFile, readlink, realpath, stat } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { Cluster } from './cluster.ts';
import { EmbeddedPostgresError } from './embedded-postgres-error.ts';
import type { PostgresPrograms } from './programs.ts';

/** A server that runs on the cluster. `port` once it takes connections. */
export interface Postmaster {
  readonly pid: number;
  readonly port: number | undefined;
}

const pollMs = 20;
const logPatienceMs = 2_000;

const settings = {
  listen_addresses: '127.0.0.1',
  // A socket's path may have 107 bytes, and a data directory's is often longer.
  unix_socket_directories: '',
  max_connections: '100',
  shared_buffers: '64MB',
  fsync: 'on',
  synchronous_commit: 'on',
  max_wal_size: '256MB',
  jit: 'off',
  logging_collector: 'on',
  log_directory: '../log',
  // A file for each day of the week, begun anew a week later.
  log_filename: 'postgres-%a.log',
  log_rotation_age: '1d',
  log_rotation_size: '0',
  log_truncate_on_rotation: 'on',
  log_checkpoints: 'off',
  // Failed statements are the gateway's to log, which sees them all.
  log_min_messages: 'log',
  log_min_error_statement: 'panic',
};

/** The server that runs on this cluster, whoever started it. */
export async function findPostmaster(cluster: Cluster): Promise<Postmaster | undefined> {
  const lines = (await readPidFile(cluster)).split('\n');
  const pid = Number(lines[0]);
  if (!(await isServerOf(cluster, pid))) return undefined;
  const isReady = lines[7]?.trim() === 'ready';
  return { pid, port: isReady ? Number(lines[3]) : undefined };
}

/**
 * Starts a server and waits until it takes connections, however long its recovery takes.
 * `false`: something that passes stood in its way.
 */
export async function startPostmaster(
  cluster: Cluster,
  programs: PostgresPrograms,
  options: { readonly port: number | undefined; readonly signal?: AbortSignal | undefined },
): Promise<boolean> {
  await disownPid(cluster);
  const port = options.port ?? (await freePort());
  const flags = Object.entries({ ...settings, port }).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  await using startLog = await open(cluster.startLog, 'w', 0o600);
  const child = programs.postgres(['-D', cluster.directory, ...flags], {
    stdio: ['ignore', startLog.fd, startLog.fd],
  });
  const exit = new Promise<void>((resolve) => child.once('exit', () => resolve()).once('error', () => resolve()));
  let exited = false;
  void exit.then(() => {
    exited = true;
  });
  child.unref();
  while ((await findPostmaster(cluster))?.port === undefined) {
    if (exited) return explainExit(cluster, child.pid);
    if (options.signal?.aborted) {
      child.kill('SIGINT');
      await exit;
      throw options.signal.reason;
    }
    await sleep(pollMs);
  }
  return true;
}

/** A fast shutdown: open connections are cut, what was committed is written, then it ends. */
export async function stopPostmaster(cluster: Cluster): Promise<void> {
  const postmaster = await findPostmaster(cluster);
  if (postmaster === undefined) return;
  interrupt(postmaster.pid);
  while ((await findPostmaster(cluster))?.pid === postmaster.pid) await sleep(pollMs);
}

function interrupt(pid: number): void {
  try {
    process.kill(pid, 'SIGINT');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

async function readPidFile(cluster: Cluster): Promise<string> {
  return readFile(pidFileOf(cluster), 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '';
    throw error;
  });
}

function pidFileOf(cluster: Cluster): string {
  return join(cluster.directory, 'postmaster.pid');
}

/** After a crash the process id in the file may belong to anything. A postmaster works in its data directory. */
async function isServerOf(cluster: Cluster, pid: number): Promise<boolean> {
  if (!(pid > 0)) return false;
  if (process.platform !== 'linux') {
    const command = await promisify(execFile)('ps', ['-o', 'command=', '-p', String(pid)]).catch(() => undefined);
    return command?.stdout.includes(` -D ${cluster.directory} `) ?? false;
  }
  try {
    const [name, workingDirectory] = await Promise.all([
      readFile(`/proc/${pid}/comm`, 'utf8'),
      readlink(`/proc/${pid}/cwd`),
    ]);
    return name === 'postgres\n' && workingDirectory === (await realpath(cluster.directory));
  } catch {
    return false;
  }
}

/** Above any process id that Linux or macOS gives out, and with as many digits as the longest. */
const noPid = '4194304';

/**
 * Postgres takes any living process with the file's process id for a server. The file must not just go: its
 * last lines let Postgres see whether a killed server left processes that still write.
 */
async function disownPid(cluster: Cluster): Promise<void> {
  try {
    await using file = await open(pidFileOf(cluster), 'r+');
    const text = await file.readFile('utf8');
    const pid = Number(text.split('\n')[0]);
    // A server that starts meanwhile makes a file of its own; this one is then no longer in any directory.
    if (await isServerOf(cluster, pid)) return;
    await file.write(text.replace(/^-?\d+/, noPid), 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}

async function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen({ host: '127.0.0.1', port: 0 }, () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });
}

/** The port was taken, another server was faster, or a killed server's processes still end. */
const passing = /Address already in use|"postmaster.pid" already exists|shared memory block .* is still in use/;

async function explainExit(cluster: Cluster, pid: number | undefined): Promise<false> {
  const said = await finalWords(cluster, pid);
  if (passing.test(said)) return false;
  throw new EmbeddedPostgresError(
    `The embedded Postgres of ${cluster.dataDir} did not start:\n${said}\n` +
      `Its log is in ${cluster.logDirectory}. To leave it alone, set PARTWAY_DATA_DIR to another directory, or ` +
      'DATABASE_URL to a Postgres that runs elsewhere.',
  );
}

/** The log is written by a process of its own, which goes on for a moment after the server has ended. */
async function finalWords(cluster: Cluster, pid: number | undefined): Promise<string> {
  const deadline = Date.now() + logPatienceMs;
  for (;;) {
    const said = await faultsTold(cluster, pid);
    if (/FATAL|PANIC/.test(said) || Date.now() > deadline) return said;
    await sleep(pollMs);
  }
}

/** What this server said of faults, in the two places where it writes before and after its log is open. */
export async function faultsTold(cluster: Cluster, pid: number | undefined): Promise<string> {
  const early = await readFile(cluster.startLog, 'utf8');
  const log = await newestLog(cluster).catch(() => '');
  const begin = log.lastIndexOf(`[${pid}] LOG:  starting PostgreSQL`);
  const late = begin < 0 ? '' : log.slice(begin);
  return [...early.split('\n'), ...late.split('\n')]
    .filter((line) => /FATAL|PANIC|ERROR|HINT|DETAIL|could not|error/.test(line))
    .slice(-10)
    .join('\n');
}

async function newestLog(cluster: Cluster): Promise<string> {
  const paths = (await readdir(cluster.logDirectory)).map((name) => join(cluster.logDirectory, name));
  const times = await Promise.all(paths.map(async (path) => ({ path, modifiedMs: (await stat(path)).mtimeMs })));
  const newest = times.sort((a, b) => b.modifiedMs - a.modifiedMs)[0];
  return newest === undefined ? '' : readFile(newest.path, 'utf8');
}
