import { setTimeout as sleep } from 'node:timers/promises';
import type pg from 'pg';
import { type Cluster, readPassword, removeDrafts, superuser } from './cluster.ts';
import { EmbeddedPostgresError } from './embedded-postgres-error.ts';
import { takeOwnership } from './ownership.ts';
import { findPostmaster } from './pid-file.ts';
import { startPostmaster, stopPostmaster } from './postmaster.ts';
import type { PostgresPrograms } from './programs.ts';
import { faultsTold } from './server-log.ts';
import type { Tell } from './tell.ts';

/** A server that another process starts or stops on the same cluster gets this long. */
const patienceMs = 120_000;
const pollMs = 50;

export interface OwnedServer {
  readonly port: number;
  /** The connection that holds the owner's lock. */
  readonly owner: pg.Client;
}

/** Finds or starts the server, and makes this process its owner. */
export async function bringUp(
  cluster: Cluster,
  programs: PostgresPrograms,
  options: { readonly log: Tell; readonly signal?: AbortSignal | undefined; readonly port?: number },
): Promise<OwnedServer> {
  const { log, signal, port } = options;
  const deadline = Date.now() + patienceMs;
  log(`bringing up Postgres on ${cluster.directory}`, 'debug');
  for (;;) {
    const postmaster = await findPostmaster(cluster);
    if (postmaster?.port !== undefined) {
      const owner = await takeOwnership(cluster, await urlOf(cluster, postmaster.port, 'postgres'));
      if (owner !== undefined) return prepared(cluster, { port: postmaster.port, owner });
    }
    signal?.throwIfAborted();
    if (postmaster === undefined && (await startPostmaster(cluster, programs, { port, signal }))) continue;
    if (Date.now() > deadline) throw await stuck(cluster, postmaster?.pid);
    await sleep(pollMs, undefined, { ...(signal && { signal }) });
  }
}

async function prepared(cluster: Cluster, server: OwnedServer): Promise<OwnedServer> {
  try {
    await removeDrafts(cluster);
    const { rowCount } = await server.owner.query(`SELECT FROM pg_database WHERE datname = 'partway'`);
    if (rowCount === 0) await server.owner.query('CREATE DATABASE partway');
    return server;
  } catch (error) {
    await shutDown(cluster, server);
    throw error;
  }
}

export async function shutDown(cluster: Cluster, server: OwnedServer): Promise<void> {
  await stopPostmaster(cluster);
  await server.owner.end().catch(() => undefined);
}

export async function urlOf(cluster: Cluster, port: number, database: 'partway' | 'postgres'): Promise<string> {
  return `postgres://${superuser}:${await readPassword(cluster)}@127.0.0.1:${port}/${database}?sslmode=disable`;
}

async function stuck(cluster: Cluster, pid: number | undefined): Promise<EmbeddedPostgresError> {
  const which = pid === undefined ? '' : `, process ${pid},`;
  return new EmbeddedPostgresError(
    `The embedded Postgres of ${cluster.dataDir}${which} neither starts nor ends. Its log is in ` +
      `${cluster.logDirectory}. ${await faultsTold(cluster, pid)}`,
  );
}
