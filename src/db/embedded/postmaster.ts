import { open } from 'node:fs/promises';
import { createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Cluster } from './cluster.ts';
import { disownPid, findPostmaster } from './pid-file.ts';
import type { PostgresPrograms } from './programs.ts';
import { explainExit } from './server-log.ts';

const pollMs = 20;

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
  // A server that does not end in its time is told again, less kindly; it recovers at its next start.
  for (const [name, patienceMs] of [
    ['SIGINT', 20_000],
    ['SIGQUIT', 5_000],
    ['SIGKILL', 5_000],
  ] as const) {
    send(postmaster.pid, name);
    const deadline = Date.now() + patienceMs;
    while ((await findPostmaster(cluster))?.pid === postmaster.pid && Date.now() < deadline) await sleep(pollMs);
    if ((await findPostmaster(cluster))?.pid !== postmaster.pid) return;
  }
}

function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
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
