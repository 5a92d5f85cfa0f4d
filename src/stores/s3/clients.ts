import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import { S3Client, type S3ClientConfig } from '@aws-sdk/client-s3';
import { NodeHttpHandler } from '@smithy/node-http-handler';
import { sendContentMd5, watchServerHeader } from './middleware.ts';
import { Places } from './places.ts';
import { SignedPuts } from './signed-put.ts';

export interface S3Connection {
  /** Unset: AWS's own for the region. */
  readonly endpoint?: string | undefined;
  readonly region: string;
  /** Unset, with its secret: the SDK's default chain (environment, shared files, instance roles). */
  readonly accessKeyId?: string | undefined;
  readonly secretAccessKey?: string | undefined;
  readonly forcePathStyle: boolean;
  readonly timeouts?: Partial<S3Timeouts> | undefined;
}

export interface S3Timeouts {
  readonly connectMs: number;
  /** No byte in either direction. Longer than what the gateway allows its clients, whose silence shows here too. */
  readonly idleMs: number;
  /** The same for Complete and UploadPartCopy, which may be silent for minutes while the store works. */
  readonly commitIdleMs: number;
}

const defaultTimeouts: S3Timeouts = { connectMs: 5_000, idleMs: 60_000, commitIdleMs: 600_000 };

export interface S3Clients {
  /** Bodies in. Never repeated: a stream can be read once. */
  readonly puts: SignedPuts;
  readonly places: Places;
  /** Bodies out. */
  readonly data: S3Client;
  /** Calls that are safe to repeat, and are repeated. */
  readonly control: S3Client;
  /** Calls that must not be repeated, or may take minutes. */
  readonly commit: S3Client;
  /** The `Server` header of the last answer. */
  server(): string | undefined;
  close(): void;
}

export function createClients(connection: S3Connection): S3Clients {
  const timeouts = { ...defaultTimeouts, ...connection.timeouts };
  const dataAgents = createAgents();
  const controlAgents = createAgents();
  const config = clientConfig(connection);
  let server: string | undefined;

  const sawServer = (name: string) => {
    server = name;
  };
  const handler = (agents: Agents, socketTimeout: number) =>
    new NodeHttpHandler({ ...agents, connectionTimeout: timeouts.connectMs, socketTimeout });
  const client = (requestHandler: NodeHttpHandler, maxAttempts: number) => {
    const created = new S3Client({ ...config, maxAttempts, requestHandler });
    watchServerHeader(created, sawServer);
    return created;
  };

  const dataHandler = handler(dataAgents, timeouts.idleMs);
  const data = client(dataHandler, 1);
  const control = client(handler(controlAgents, timeouts.idleMs), 3);
  const commit = client(handler(controlAgents, timeouts.commitIdleMs), 1);
  sendContentMd5(control);
  // This client asks for the bucket at the start, and so is the first to learn how far the store's clock is off.
  const places = new Places(control);

  return {
    puts: new SignedPuts(places, dataHandler, sawServer),
    places,
    data,
    control,
    commit,
    server: () => server,
    close: () => {
      for (const each of [data, control, commit]) each.destroy();
    },
  };
}

function clientConfig(connection: S3Connection): S3ClientConfig {
  const { endpoint, region, accessKeyId, secretAccessKey, forcePathStyle } = connection;
  return {
    region,
    forcePathStyle,
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(accessKeyId === undefined || secretAccessKey === undefined
      ? {}
      : { credentials: { accessKeyId, secretAccessKey } }),
    // WHEN_SUPPORTED wraps streams in aws-chunked: a body that breaks off there ends the process, and it
    // signs the checksum of an empty body into presigned URLs.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    // A request with Expect gets a connection of its own, which is not used again.
    expectContinueHeader: false,
    logger: silent,
  };
}

interface Agents {
  readonly httpAgent: HttpAgent;
  readonly httpsAgent: HttpsAgent;
}

/**
 * No limit of sockets: how much runs at once is decided at the gateway's door. In an agent's queue a call
 * would fail by `connectionTimeout` while others use its socket.
 * The timeout closes idle sockets sooner than stores do (AWS 20 s, MinIO 30 s): a streamed part that meets the
 * store's FIN is lost.
 */
function createAgents(): Agents {
  const options = { keepAlive: true, maxSockets: Number.POSITIVE_INFINITY, timeout: 10_000 };
  return { httpAgent: new HttpAgent(options), httpsAgent: new HttpsAgent(options) };
}

/** Failures are thrown, and logged by who knows what they mean; the SDK would also write them to the console. */
const nothing = (): void => undefined;
const silent = { trace: nothing, debug: nothing, info: nothing, warn: nothing, error: nothing };
