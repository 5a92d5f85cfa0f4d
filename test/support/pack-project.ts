import { execFile } from 'node:child_process';
import { cp, mkdir, symlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const project = fileURLToPath(new URL('../../', import.meta.url));
const whatIsBuilt = ['package.json', 'tsconfig.json', 'tsconfig.build.json', 'scripts', 'src', 'drizzle', 'docs'];

export const run = promisify(execFile);

/** The Node that runs this, for programs that ask the PATH for one. */
export const pathWithNode = `${dirname(process.execPath)}:${process.env.PATH}`;

/** What `npm publish` would send, built in a copy so that nobody's `dist` changes. @returns the tarball's path */
export async function packProject(folder: string): Promise<string> {
  const copy = join(folder, 'project');
  await mkdir(copy);
  for (const name of whatIsBuilt) await cp(join(project, name), join(copy, name), { recursive: true });
  await symlink(join(project, 'node_modules'), join(copy, 'node_modules'));
  const { stdout } = await run('npm', ['pack', '--silent', '--pack-destination', folder], {
    cwd: copy,
    env: { ...process.env, PATH: pathWithNode },
  });
  return join(folder, stdout.trim().split('\n').at(-1) ?? '');
}
