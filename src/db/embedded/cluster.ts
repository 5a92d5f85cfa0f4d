import { randomBytes } from 'node:crypto';
import { constants } from 'node:fs';
import { access, mkdir, mkdtemp, open, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { EmbeddedPostgresError } from './embedded-postgres-error.ts';
import type { PostgresPrograms } from './programs.ts';
import type { Tell } from './tell.ts';

export const superuser = 'partway';

/** Where a gateway's embedded Postgres lives. */
export interface Cluster {
  readonly dataDir: string;
  /** Postgres's own data directory. */
  readonly directory: string;
  readonly passwordFile: string;
  /** What the server says before it writes to `logDirectory`. */
  readonly startLog: string;
  readonly logDirectory: string;
}

const draftPrefix = 'postgres-draft-';

export function clusterIn(dataDir: string): Cluster {
  return clusterAt(resolve(dataDir), join(resolve(dataDir), 'postgres'));
}

function clusterAt(dataDir: string, home: string): Cluster {
  return {
    dataDir,
    directory: join(home, 'cluster'),
    passwordFile: join(home, 'password'),
    startLog: join(home, 'start.log'),
    logDirectory: join(home, 'log'),
  };
}

export async function readPassword(cluster: Cluster): Promise<string> {
  return readFile(cluster.passwordFile, 'utf8');
}

/** Creates the cluster where there is none yet: whole, by one rename, or not at all. */
export async function ensureCluster(
  cluster: Cluster,
  programs: PostgresPrograms,
  options: { readonly log: Tell; readonly signal?: AbortSignal | undefined },
): Promise<void> {
  if (await isCreated(cluster)) return;
  options.log(`creating a Postgres cluster in ${cluster.directory}`, 'info');
  const home = await mkdtemp(join(cluster.dataDir, draftPrefix));
  try {
    const draft = clusterAt(cluster.dataDir, home);
    await writeFile(draft.passwordFile, randomBytes(24).toString('base64url'), { mode: 0o600, flush: true });
    await initialise(draft, programs, options.signal);
    await syncDirectory(home);
    await rename(home, join(cluster.dataDir, 'postgres'));
    await syncDirectory(cluster.dataDir);
  } catch (error) {
    await removeDraft(home);
    // Another process that began at the same moment was faster.
    if (await exists(cluster.passwordFile)) return;
    options.signal?.throwIfAborted();
    throw unusable(cluster, error);
  }
}

/** Removes what killed processes left. Only for the one that owns the cluster: nobody else needs a draft. */
export async function removeDrafts(cluster: Cluster): Promise<void> {
  const drafts = (await readdir(cluster.dataDir)).filter((name) => name.startsWith(draftPrefix));
  await Promise.all(drafts.map((name) => removeDraft(join(cluster.dataDir, name))));
}

/** The one whose draft it is may be writing it, or removing it as well. */
function removeDraft(path: string): Promise<void> {
  return rm(path, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
}

async function initialise(draft: Cluster, programs: PostgresPrograms, signal: AbortSignal | undefined): Promise<void> {
  const { exitCode, output } = await programs.initdb(
    [
      `--pgdata=${draft.directory}`,
      `--username=${superuser}`,
      `--pwfile=${draft.passwordFile}`,
      '--auth=scram-sha-256',
      '--encoding=UTF8',
      '--locale=C',
      '--locale-provider=builtin',
      '--builtin-locale=C.UTF-8',
      '--data-checksums',
      '--no-instructions',
    ],
    signal,
  );
  if (exitCode !== 0) throw new Error(faults(output));
}

/** initdb tells of every step, then what went wrong, then of its own tidying up. */
function faults(output: string): string {
  const lines = output.trim().split('\n');
  const wrong = lines.filter((line) => /error:|fatal:|panic:|hint:/i.test(line));
  return (wrong.length > 0 ? wrong.slice(0, 4) : lines.slice(-3)).join('\n');
}

async function isCreated(cluster: Cluster): Promise<boolean> {
  try {
    await mkdir(cluster.dataDir, { recursive: true });
    await access(cluster.dataDir, constants.W_OK | constants.X_OK);
    return await exists(cluster.passwordFile);
  } catch (error) {
    throw unusable(cluster, error);
  }
}

function unusable(cluster: Cluster, cause: unknown): EmbeddedPostgresError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  const asRoot = process.getuid?.() === 0 ? ' Postgres runs without the privileges of root.' : '';
  return new EmbeddedPostgresError(
    `The embedded Postgres cannot keep its data in ${cluster.dataDir}: ${reason}\n` +
      `Set PARTWAY_DATA_DIR to a directory that this user can write to and that has room (about 100 MB), or ` +
      `DATABASE_URL to a Postgres that runs elsewhere.${asRoot}`,
    { cause },
  );
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return false;
      throw error;
    },
  );
}

async function syncDirectory(path: string): Promise<void> {
  await using directory = await open(path, constants.O_RDONLY);
  await directory.sync();
}
