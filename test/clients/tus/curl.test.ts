import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { bytesOf } from '../../protocols/rest/rest-client.ts';
import { availableStores, startRestGateway } from '../../protocols/rest/rest-gateway.ts';

const script = fileURLToPath(new URL('curl.sh', import.meta.url));
const store = (await availableStores()).at(-1)!;

test('curl alone gets through every extension', { timeout: 60_000 }, async () => {
  const folder = await mkdtemp(join(tmpdir(), 'partway-tus-curl-'));
  const gateway = await startRestGateway(store);
  try {
    const file = join(folder, 'file');
    await writeFile(file, bytesOf(13 * 1024 ** 2 + 1, 'curl'));
    const { stderr } = await promisify(execFile)('bash', [script, `${gateway.url}/files/`, file]);
    expect(stderr).toBe('');
  } finally {
    await gateway.stop();
    await rm(folder, { recursive: true, force: true });
  }
});
