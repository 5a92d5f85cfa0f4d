import { execFile } from 'node:child_process';
import { open, readFile, readlink, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Cluster } from './cluster.ts';

/** A server that runs on the cluster. `port` once it takes connections. */
export interface Postmaster {
  readonly pid: number;
  readonly port: number | undefined;
}

/** The server that runs on this cluster, whoever started it. */
export async function findPostmaster(cluster: Cluster): Promise<Postmaster | undefined> {
  const lines = (await readPidFile(cluster)).split('\n');
  const pid = Number(lines[0]);
  if (!(await isServerOf(cluster, pid))) return undefined;
  const isReady = lines[7]?.trim() === 'ready';
  return { pid, port: isReady ? Number(lines[3]) : undefined };
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
export async function disownPid(cluster: Cluster): Promise<void> {
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

async function readPidFile(cluster: Cluster): Promise<string> {
  return readFile(pidFileOf(cluster), 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '';
    throw error;
  });
}

function pidFileOf(cluster: Cluster): string {
  return join(cluster.directory, 'postmaster.pid');
}
