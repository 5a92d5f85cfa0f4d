/** Preloaded into a gateway under test: it ends with the test that started it, also when that one is killed. */
import { rmSync } from 'node:fs';

const { PARTWAY_TEST_FOLDER: folder } = process.env;

function die(): void {
  if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
  process.kill(process.pid, 'SIGKILL');
}

process.stdin.on('end', die).resume();
if ('unref' in process.stdin) process.stdin.unref();
