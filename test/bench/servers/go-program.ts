import { execFile } from 'node:child_process';
import { access, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const folder = fileURLToPath(new URL('../../../.cache/bin/', import.meta.url));
const run = promisify(execFile);

/** A program of the Go module registry, built once; `undefined` where there is no Go toolchain. */
export async function goProgram(module: string): Promise<string | undefined> {
  const path = join(folder, module.split('/').at(-1) ?? '');
  if (await isThere(path)) return path;
  const hasGo = await run('go', ['version']).then(
    () => true,
    () => false,
  );
  if (!hasGo) return undefined;
  console.error(`${module} is built from source into .cache/bin, once: this takes some minutes.`);
  await mkdir(folder, { recursive: true });
  await run('go', ['install', `${module}@latest`], { env: { ...process.env, GOBIN: folder } });
  return path;
}

function isThere(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
