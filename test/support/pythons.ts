import { spawn } from 'node:child_process';

const oldestMinor = 6;
const newestMinor = 15;

/** The oldest Python that can be run here, and the newest; none where there is none. */
export async function findPythons(): Promise<readonly string[]> {
  const minors = Array.from({ length: newestMinor - oldestMinor + 1 }, (_, index) => `3.${oldestMinor + index}`);
  const found = await Promise.all(minors.map((version) => pathOf(`python${version}`, version)));
  const paths = found.filter((path) => path !== undefined);
  return [...new Set([...paths.slice(0, 1), ...paths.slice(-1)])];
}

/** pyenv runs what it has installed where it is told the version. */
function pathOf(command: string, version: string): Promise<string | undefined> {
  return new Promise((resolve) => {
    const child = spawn(command, ['-c', 'import sys; print(sys.executable)'], {
      env: { ...process.env, PYENV_VERSION: version },
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    let path = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      path += text;
    });
    child.once('error', () => resolve(undefined));
    child.once('close', (code) => resolve(code === 0 ? path.trim() : undefined));
  });
}
