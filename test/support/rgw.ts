import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { NotAvailable, onFreePorts, ServerEnded, startServer, waitForHttp } from './start-server.ts';
import type { StartedStore } from './stores.ts';

const script = fileURLToPath(new URL('../../infra/rgw/rgw.sh', import.meta.url));
const credentials = { accessKeyId: 'partway-test', secretAccessKey: 'partway-test-secret' };
/** EX_UNAVAILABLE of sysexits.h: the script's word for a machine that cannot run it. */
const unavailable = 69;

export async function installRgw(): Promise<void> {
  await promisify(execFile)('bash', [script, 'install'], { maxBuffer: 64 * 1024 * 1024 });
}

/** Ceph's S3 server, which differs from MinIO wherever S3 leaves room. */
export async function startRgw(): Promise<StartedStore> {
  return onFreePorts(2, async ([port, monitorPort]) => {
    const server = startServer({
      command: 'bash',
      args: [script, 'run'],
      env: {
        ...process.env,
        RGW_PORT: String(port),
        RGW_MON_PORT: String(monitorPort),
        RGW_ACCESS_KEY_ID: credentials.accessKeyId,
        RGW_SECRET_ACCESS_KEY: credentials.secretAccessKey,
      },
    });
    const endpoint = `http://127.0.0.1:${port}`;
    try {
      // The first time it unpacks its packages, which takes a minute or two.
      await server.waitForLine(/^listening on /m, { deadlineMs: 280_000 });
      await waitForHttp(endpoint, server, { deadlineMs: 30_000 });
    } catch (error) {
      await server.stop();
      if (error instanceof ServerEnded && error.exitCode === unavailable) throw new NotAvailable(error.log.trim());
      throw error;
    }
    return { name: 'rgw', endpoint, ...credentials, stop: () => server.stop() };
  });
}
