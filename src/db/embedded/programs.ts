import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { userInfo } from 'node:os';
import { EmbeddedPostgresError } from './embedded-postgres-error.ts';

/** Postgres's programs, as they run on this machine for this user. */
export interface PostgresPrograms {
  /** Runs initdb to its end, out of reach of the terminal's Ctrl-C. */
  initdb(args: readonly string[], signal?: AbortSignal): Promise<FinishedProgram>;
  /** Starts the server: the child's process id is the postmaster's. */
  postgres(args: readonly string[], options: SpawnOptions): ChildProcess;
}

export interface FinishedProgram {
  readonly exitCode: number | null;
  readonly output: string;
}

export async function findPostgresPrograms(): Promise<PostgresPrograms> {
  const paths = await findPaths();
  const mapping = await userMapping();
  const launch = (program: string, args: readonly string[], options: SpawnOptions) => {
    const [command = program, ...rest] = [...mapping, program, ...args];
    return spawn(command, rest, { ...options, env: environment(), detached: true });
  };
  await requireRunnable(launch(paths.postgres, ['--version'], {}), mapping.length > 0);
  return {
    initdb: (args, signal) => finished(launch(paths.initdb, args, signal === undefined ? {} : { signal })),
    postgres: (args, options) => launch(paths.postgres, args, options),
  };
}

async function findPaths(): Promise<{ readonly initdb: string; readonly postgres: string }> {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`;
  try {
    const { initdb, postgres } = (await import(name)) as Record<string, unknown>;
    return { initdb: String(initdb), postgres: String(postgres) };
  } catch (cause) {
    throw new EmbeddedPostgresError(
      `There is no embedded Postgres for ${process.platform}-${process.arch}: the npm package ${name}, an optional ` +
        'dependency, is not installed. Set DATABASE_URL to a Postgres that runs elsewhere.',
      { cause },
    );
  }
}

/**
 * Postgres refuses to run as root, and initdb as a user whom the system has no name for. In a user namespace
 * the same user goes by another id and still owns its files.
 */
async function userMapping(): Promise<readonly string[]> {
  if (process.getuid?.() !== 0 && hasName()) return [];
  const id = await someNamedId();
  return ['unshare', '--user', `--map-user=${id}`, `--map-group=${id}`, '--'];
}

function hasName(): boolean {
  try {
    return userInfo().username !== '';
  } catch {
    return false;
  }
}

async function someNamedId(): Promise<number> {
  const users = await readFile('/etc/passwd', 'utf8').catch(() => '');
  const ids = users.split('\n').map((line) => Number(line.split(':')[2]));
  return ids.find((id) => id > 0) ?? 65534;
}

/** libpq's and Postgres's own variables would change what it does; a locale would translate what it says. */
function environment(): NodeJS.ProcessEnv {
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('PG'));
  return { ...Object.fromEntries(inherited), LC_ALL: 'C' };
}

async function requireRunnable(version: ChildProcess, mapped: boolean): Promise<void> {
  const { exitCode, output } = await finished(version).catch((error: Error) => ({
    exitCode: null,
    output: error.message,
  }));
  if (exitCode === 0) return;
  throw new EmbeddedPostgresError(
    mapped
      ? 'The embedded Postgres does not run as root, nor as a user without a name, and starting it in a user ' +
          `namespace failed (${output.trim()}). Run the gateway as an ordinary user with PARTWAY_DATA_DIR set to a ` +
          'directory which that user can write to, or set DATABASE_URL to a Postgres that runs elsewhere.'
      : `The embedded Postgres does not run on this machine (${output.trim()}). Set DATABASE_URL to a Postgres that ` +
          'runs elsewhere.',
  );
}

function finished(child: ChildProcess): Promise<FinishedProgram> {
  return new Promise((resolve, reject) => {
    let output = '';
    const collect = (chunk: Buffer) => {
      output += chunk.toString();
    };
    child.stdout?.on('data', collect);
    child.stderr?.on('data', collect);
    child.once('error', reject);
    child.once('close', (exitCode) => resolve({ exitCode, output }));
  });
}
