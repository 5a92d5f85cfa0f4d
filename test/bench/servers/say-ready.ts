import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';

/** Tells the bench where this process listens and which process it is. */
export function sayReady(url: string): void {
  console.log(`listening on ${url} as process ${process.pid}`);
}

export function listen(server: Server): void {
  server.requestTimeout = 0;
  server.listen(0, '127.0.0.1', () => sayReady(`http://127.0.0.1:${(server.address() as AddressInfo).port}`));
}
