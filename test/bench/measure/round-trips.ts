import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { pipeline } from 'node:stream';

/** Frontend messages that the server answers with ReadyForQuery ("Message Flow" in Postgres's manual). */
const query = 'Q'.charCodeAt(0);
const sync = 'S'.charCodeAt(0);

export interface RoundTripMeter {
  /** For DATABASE_URL: the same database, by way of the meter. */
  readonly url: string;
  /** Round trips so far, of all connections. */
  count(): number;
  stop(): Promise<void>;
}

/** Stands between the gateway and Postgres, and counts how often the gateway waits for an answer. */
export async function startRoundTripMeter(databaseUrl: string): Promise<RoundTripMeter> {
  const target = new URL(databaseUrl);
  const sockets = new Set<Socket>();
  let count = 0;
  const server = createServer({ noDelay: true }, (client) => {
    const upstream = connect({ host: target.hostname, port: Number(target.port), noDelay: true });
    const look = messageReader((type) => {
      if (type === query || type === sync) count += 1;
    });
    client.on('data', look);
    for (const socket of [client, upstream]) sockets.add(socket.on('close', () => sockets.delete(socket)));
    pipeline(client, upstream, () => undefined);
    pipeline(upstream, client, () => undefined);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = new URL(databaseUrl);
  url.hostname = '127.0.0.1';
  url.port = String((server.address() as AddressInfo).port);
  return {
    url: url.href,
    count: () => count,
    stop: async () => {
      const closed = new Promise((resolve) => server.close(resolve));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

/** "Message Formats": a startup message is a length and its content; every later one has a type before them. */
function messageReader(seen: (type: number) => void): (chunk: Buffer) => void {
  let rest: Buffer = Buffer.alloc(0);
  let typeBytes = 0;
  return (chunk) => {
    rest = Buffer.concat([rest, chunk]);
    while (rest.length >= typeBytes + 4) {
      const messageBytes = typeBytes + rest.readUInt32BE(typeBytes);
      if (rest.length < messageBytes) return;
      if (typeBytes === 1) seen(rest.readUInt8());
      rest = rest.subarray(messageBytes);
      typeBytes = 1;
    }
  };
}
