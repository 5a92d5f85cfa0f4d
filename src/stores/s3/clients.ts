import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import { S3Client, type S3ClientConfig } from '@aws-sdk/client-s3';
import { NodeHttpHandler } from '@smithy/node-http-handler';
import { leavePayloadUnsigned, sendContentMd5, watchServerHeader } from './middleware.ts';

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
  /** Bodies in and out. Never repeated: a stream can be read once. */
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

  const client = (agents: Agents, socketTimeout: number, maxAttempts: number) => {
    const created = new S3Client({
      ...config,
      maxAttempts,
      requestHandler: new NodeHttpHandler({ ...agents, connectionTimeout: timeouts.connectMs, socketTimeout }),
    });
    watchServerHeader(created, (name) => {
      server = name;
    });
    return created;
  };

  const data = client(dataAgents, timeouts.idleMs, 1);
  const control = client(controlAgents, timeouts.idleMs, 3);
  const commit = client(controlAgents, timeouts.commitIdleMs, 1);
  leavePayloadUnsigned(data);
  sendContentMd5(control);

  return {
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
