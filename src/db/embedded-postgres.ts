import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import { bringUp, type OwnedServer, shutDown, urlOf } from './embedded/bring-up.ts';
import { type Cluster, clusterIn, ensureCluster } from './embedded/cluster.ts';
import { findPostmaster } from './embedded/pid-file.ts';
import { findPostgresPrograms, type PostgresPrograms } from './embedded/programs.ts';
import type { Tell } from './embedded/tell.ts';

const restartMs = 1_000;

export interface EmbeddedPostgres {
  /** Of the database `partway`, as its superuser. */
  readonly url: string;
  /** Ends the server, after what was committed is on disk. Call it last: connections are cut. */
  stop(): Promise<void>;
}

/**
 * A real Postgres as a process of its own, which outlives the gateway that started it: the next start adopts
 * it. Its cluster is in `postgres` inside `dataDir`, made at the first start.
 * @throws EmbeddedPostgresError where it cannot run here, or another gateway uses it
 */
export async function startEmbeddedPostgres(options: {
  readonly dataDir: string;
  readonly log?: Tell | undefined;
  readonly signal?: AbortSignal | undefined;
}): Promise<EmbeddedPostgres> {
  const { log = () => undefined, signal } = options;
  const cluster = clusterIn(options.dataDir);
  const programs = await findPostgresPrograms();
  await ensureCluster(cluster, programs, { log, signal });
  const server = await bringUp(cluster, programs, { log, signal });
  const stop = supervise(cluster, programs, server, log);
  if (signal?.aborted) {
    await stop();
    throw signal.reason;
  }
  return { url: await urlOf(cluster, server.port, 'partway'), stop };
}

/** The server that a running gateway started on this data directory, for tools beside it. */
export async function findRunningEmbeddedPostgres(dataDir: string): Promise<{ url: string } | undefined> {
  const cluster = clusterIn(dataDir);
  const port = (await findPostmaster(cluster))?.port;
  if (port === undefined) return undefined;
  const url = await urlOf(cluster, port, 'partway');
  return (await answers(url)) ? { url } : undefined;
}

/** Where the server ends before its time, starts it again on the same port, so that `url` stays true. */
function supervise(cluster: Cluster, programs: PostgresPrograms, first: OwnedServer, log: Tell): () => Promise<void> {
  const stopping = new AbortController();
  let server: OwnedServer | undefined;
  let recovery = Promise.resolve();
  let stopped: Promise<void> | undefined;

  const watch = (owned: OwnedServer) => {
    server = owned;
    owned.owner.once('end', () => {
      if (!stopping.signal.aborted) recovery = recover(owned.port);
    });
  };
  const recover = async (port: number) => {
    server = undefined;
    log('Postgres has cut its connections', 'warn');
    while (!stopping.signal.aborted) {
      try {
        return watch(await bringUp(cluster, programs, { log, signal: stopping.signal, port }));
      } catch (error) {
        if (stopping.signal.aborted) return;
        log(`Postgres does not come back: ${error instanceof Error ? error.message : error}`, 'warn');
        await sleep(restartMs, undefined, { signal: stopping.signal }).catch(() => undefined);
      }
    }
  };
  const stop = async () => {
    stopping.abort();
    await recovery;
    if (server !== undefined) await shutDown(cluster, server);
  };

  watch(first);
  return () => {
    stopped ??= stop();
    return stopped;
  };
}

async function answers(url: string): Promise<boolean> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 5_000 });
  client.on('error', () => undefined);
  try {
    await client.connect();
    return true;
  } catch {
    return false;
  } finally {
    await client.end().catch(() => undefined);
  }
}
