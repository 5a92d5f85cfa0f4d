import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { access, mkdir, mkdtemp, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { NotAvailable } from './start-server.ts';

const requirements = fileURLToPath(new URL('../clients/requirements.txt', import.meta.url));
const cacheFolder = fileURLToPath(new URL('../../.cache', import.meta.url));

/** How a Python program ended. */
export interface PythonRun {
  readonly code: number | null;
  readonly output: string;
}

/**
 * The interpreter of a virtual environment with what `test/clients/requirements.txt` names; `undefined`, loudly, on a
 * machine without Python. Under CI that is a failure.
 */
export async function usePython(): Promise<string | undefined> {
  try {
    return await providePython();
  } catch (error) {
    if (!(error instanceof NotAvailable) || process.env.CI === 'true') throw error;
    console.warn(`\n  NOT TESTED with Python clients: ${error.message}.\n`);
    return undefined;
  }
}

/** Makes the environment where it is not there yet. @throws NotAvailable */
export async function providePython(): Promise<string> {
  const wanted = createHash('sha256')
    .update(await readFile(requirements))
    .digest('hex');
  const folder = join(cacheFolder, `python-${wanted.slice(0, 12)}`);
  const interpreter = join(folder, 'bin/python');
  if (await exists(interpreter)) return interpreter;
  await mkdir(cacheFolder, { recursive: true });
  // Test files run in processes of their own: each makes one, and the first to finish puts it in place.
  const draft = await mkdtemp(join(cacheFolder, 'python-draft-'));
  try {
    await makeEnvironment(draft);
    await rename(draft, folder).catch(async (error: unknown) => {
      if (!(await exists(interpreter))) throw error;
    });
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
  return interpreter;
}

/** Runs a program to its end. Nothing but PATH is inherited. */
export function runPython(
  interpreter: string,
  args: readonly string[],
  options: {
    readonly cwd?: string;
    readonly env?: Readonly<Record<string, string>>;
    readonly signal?: AbortSignal;
  } = {},
): Promise<PythonRun> {
  const { env, ...rest } = options;
  return run(interpreter, args, { ...rest, env: { PATH: process.env.PATH, PYTHONUNBUFFERED: '1', ...env } });
}

async function makeEnvironment(folder: string): Promise<void> {
  const made = await run('python3', ['-m', 'venv', folder]).catch((cause: unknown) => {
    throw new NotAvailable('there is no python3 in PATH', { cause });
  });
  if (made.code !== 0) throw new NotAvailable(`python3 -m venv failed:\n${made.output}`);
  const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--requirement', requirements];
  const installed = await run(join(folder, 'bin/python'), pip);
  if (installed.code !== 0) throw new Error(`pip could not install ${requirements}:\n${installed.output}`);
}

function run(
  command: string,
  args: readonly string[],
  options: { readonly cwd?: string; readonly env?: NodeJS.ProcessEnv; readonly signal?: AbortSignal } = {},
): Promise<PythonRun> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { ...options, killSignal: 'SIGKILL', stdio: ['ignore', 'pipe', 'pipe'] });
    const chunks: Buffer[] = [];
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => chunks.push(chunk));
    child.once('error', reject);
    child.once('close', (code) => resolve({ code, output: Buffer.concat(chunks).toString() }));
  });
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
