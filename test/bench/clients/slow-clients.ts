import { Agent, type ClientRequest } from 'node:http';
import { open, someBytes } from './send.ts';

const tickMs = 250;
/** They come one after the other, as clients do: hundreds in one moment would measure the queue for the records. */
const arrivalsPerTick = 50;

export interface SlowClients {
  /** Bytes that the clients have handed to their sockets. */
  readonly sentBytes: number;
  /** Clients whose request ended before it was to. */
  readonly lost: number;
  stop(): void;
}

/** Clients that each send one body, each at its own slow and steady rate. */
export function startSlowClients(
  urls: readonly string[],
  {
    sizeBytes,
    bytesPerSecond,
    headers = {},
  }: {
    readonly sizeBytes: number;
    /** 0: it sends the headers and no byte of the body. */
    readonly bytesPerSecond: number;
    readonly headers?: Readonly<Record<string, string>>;
  },
): SlowClients {
  const agent = new Agent({ maxSockets: Number.POSITIVE_INFINITY });
  const chunk = someBytes(Math.ceil((bytesPerSecond * tickMs) / 1000));
  const clients = new Set<ClientRequest>();
  let sentBytes = 0;
  let stopped = false;
  let lost = 0;
  let arrived = 0;
  const arrive = (url: string) => {
    const client = open({ method: 'PUT', url, agent, sizeBytes, headers });
    client.flushHeaders();
    const end = () => {
      if (clients.delete(client) && !stopped) lost += 1;
    };
    client.on('error', end).on('response', end);
    clients.add(client);
  };
  const timer = setInterval(() => {
    for (const url of urls.slice(arrived, arrived + arrivalsPerTick)) arrive(url);
    arrived += arrivalsPerTick;
    for (const client of clients) {
      // One that is held back by the gateway waits: its bytes must not pile up here.
      if (client.writableNeedDrain || chunk.length === 0) continue;
      client.write(chunk);
      sentBytes += chunk.length;
    }
  }, tickMs);
  return {
    get sentBytes() {
      return sentBytes;
    },
    get lost() {
      return lost;
    },
    stop() {
      stopped = true;
      clearInterval(timer);
      for (const client of clients) client.destroy();
      agent.destroy();
    },
  };
}
