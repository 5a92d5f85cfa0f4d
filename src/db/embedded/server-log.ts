import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Cluster } from './cluster.ts';
import { EmbeddedPostgresError } from './embedded-postgres-error.ts';

const pollMs = 20;
const logPatienceMs = 2_000;

/** The port was taken, another server was faster, or a killed server's processes still end. */
const passing = /Address already in use|"postmaster.pid" already exists|shared memory block .* is still in use/;

export async function explainExit(cluster: Cluster, pid: number | undefined): Promise<false> {
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
