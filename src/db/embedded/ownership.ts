import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';
import type { Cluster } from './cluster.ts';
import { EmbeddedPostgresError } from './embedded-postgres-error.ts';

/**
 * The session-level advisory lock, in database `postgres`, of the one gateway that uses the cluster: it holds
 * it on a connection of its own until it has stopped the server, and it is free the moment its process is gone.
 */
const ownerLock = { classId: 0x70617274, objectId: 1 };

/** The kernel closes a killed gateway's connection; the server needs a moment to see it. */
const graceMs = 2_000;
const pollMs = 50;

/**
 * Resolves with the connection that holds the lock; `undefined` while the server takes no connections.
 * @throws EmbeddedPostgresError where another living gateway holds it
 */
export async function takeOwnership(cluster: Cluster, url: string): Promise<pg.Client | undefined> {
  const client = new pg.Client({
    connectionString: url,
    connectionTimeoutMillis: 10_000,
    application_name: `partway-owner-${process.pid}`,
  });
  client.on('error', () => undefined);
  try {
    await client.connect();
    const deadline = Date.now() + graceMs;
    while (!(await tryLock(client))) {
      if (Date.now() > deadline) throw inUse(cluster, await findHolder(client));
      await sleep(pollMs);
    }
    return client;
  } catch (error) {
    await client.end().catch(() => undefined);
    if (isNotReady(error)) return undefined;
    throw error;
  }
}

async function tryLock(client: pg.Client): Promise<boolean> {
  const { rows } = await client.query<{ locked: boolean }>('SELECT pg_try_advisory_lock($1, $2) AS locked', [
    ownerLock.classId,
    ownerLock.objectId,
  ]);
  return rows[0]?.locked === true;
}

async function findHolder(client: pg.Client): Promise<string> {
  const { rows } = await client.query<{ name: string }>(
    `SELECT a.application_name AS name
       FROM pg_locks l JOIN pg_stat_activity a USING (pid)
      WHERE l.locktype = 'advisory' AND l.classid = $1 AND l.objid = $2 AND l.objsubid = 2 AND l.granted`,
    [ownerLock.classId, ownerLock.objectId],
  );
  return rows[0]?.name.replace('partway-owner-', '') ?? 'unknown';
}

function inUse(cluster: Cluster, pid: string): EmbeddedPostgresError {
  return new EmbeddedPostgresError(
    `The embedded Postgres of ${cluster.dataDir} is in use by another gateway or command, process ${pid}. Stop that ` +
      `one (kill ${pid}) or set PARTWAY_DATA_DIR to another directory; gateways that are to work together need one ` +
      'DATABASE_URL.',
  );
}

/** It starts up or shuts down (class 57P), or has just ended. */
function isNotReady(error: unknown): boolean {
  const { code = '', message = '' } = error as { code?: string; message?: string };
  return /^57P|^ECONN/.test(code) || /Connection terminated/.test(message);
}
