import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { startMinio } from './minio.ts';
import { startPostgres } from './postgres-server.ts';
import { startRgw } from './rgw.ts';
import { NotAvailable } from './start-server.ts';

const starters = { minio: startMinio, rgw: startRgw, postgres: startPostgres };

export type ServerName = keyof typeof starters;
export type ServerAnswer = { readonly started: unknown } | { readonly missing: string };

/**
 * The servers of a test run, each started when the first test file asks for it and ended with the run. Test
 * files live in processes of their own, so they ask over HTTP.
 */
export async function openServers() {
  const asked = new Map<ServerName, Promise<{ stop(): Promise<void> }>>();
  const missing = new Map<ServerName, string>();

  async function answer(name: ServerName): Promise<ServerAnswer> {
    let starting = asked.get(name);
    if (starting === undefined) {
      starting = starters[name]();
      asked.set(name, starting);
    }
    try {
      return { started: await starting };
    } catch (error) {
      if (!(error instanceof NotAvailable)) throw error;
      missing.set(name, error.message);
      return { missing: error.message };
    }
  }

  const desk = createServer((request, response) => {
    const name = request.url?.slice(1) ?? '';
    if (!isServerName(name)) return void response.writeHead(404).end();
    answer(name).then(
      (found) => response.end(JSON.stringify(found)),
      (error: unknown) => response.writeHead(500).end(error instanceof Error ? error.message : String(error)),
    );
  });
  desk.requestTimeout = 0;
  await new Promise<void>((resolve) => desk.listen(0, '127.0.0.1', resolve));
  desk.unref();

  return {
    url: `http://127.0.0.1:${(desk.address() as AddressInfo).port}`,
    missing: missing as ReadonlyMap<ServerName, string>,
    async close() {
      desk.close();
      desk.closeAllConnections();
      const started = await Promise.allSettled(asked.values());
      await Promise.all(started.map((server) => (server.status === 'fulfilled' ? server.value.stop() : undefined)));
    },
  };
}

function isServerName(name: string): name is ServerName {
  return Object.hasOwn(starters, name);
}
