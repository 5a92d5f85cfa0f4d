import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ResumeRecord, ResumeStore } from '../../src/sdk/node/index.ts';
import { availableStores, type RestGateway, startRestGateway } from '../protocols/rest/rest-gateway.ts';
import { type FaultProxy, type ProxiedRequest, startFaultProxy } from '../support/fault-proxy.ts';
import { useMinio } from '../support/stores.ts';

export const MiB = 1024 ** 2;
export const partBytes = 8 * MiB;

/** A gateway behind one proxy, and, where there is an S3 store, the store behind another. */
export interface SdkGateway {
  readonly gateway: RestGateway;
  /** Between client and gateway. */
  readonly line: FaultProxy;
  /** Before the store: what gateway and client send it. Without one on the disk store. */
  readonly storeLine: FaultProxy | undefined;
  fileOf(name: string, bytes: Uint8Array): Promise<string>;
  clear(): void;
  stop(): Promise<void>;
}

export async function startSdkGateway(): Promise<SdkGateway> {
  await using started = new AsyncDisposableStack();
  const minio = await useMinio();
  const storeLine = minio && (await startFaultProxy({ target: minio.endpoint }));
  started.defer(async () => storeLine?.stop());
  const [store = 'disk'] = (await availableStores()).toReversed();
  const gateway = await startRestGateway(store, {
    ...(storeLine && { env: { S3_ENDPOINT: storeLine.url } }),
  });
  started.defer(() => gateway.stop());
  const line = await startFaultProxy({ target: gateway.url });
  started.defer(() => line.stop());
  const folder = await mkdtemp(join(tmpdir(), 'partway-sdk-'));
  started.defer(() => rm(folder, { recursive: true, force: true }));
  const owned = started.move();
  return {
    gateway,
    line,
    storeLine,
    async fileOf(name, bytes) {
      const path = join(folder, name);
      await writeFile(path, bytes);
      return path;
    },
    clear() {
      line.clear();
      storeLine?.clear();
    },
    stop: () => owned.disposeAsync(),
  };
}

export const isPart = ({ method, path }: ProxiedRequest) => method === 'PUT' && /\/parts\/\d+$/.test(path);
export const isRange = ({ headers }: ProxiedRequest) => /^bytes \d/.test(headers.get('content-range') ?? '');
export const isData = (request: ProxiedRequest) => isPart(request) || isRange(request);
export const isSigned = ({ method, query }: ProxiedRequest) => method === 'PUT' && query.has('X-Amz-Signature');
export const isCreate = ({ method, path }: ProxiedRequest) => method === 'POST' && path === '/uploads';
export const isComplete = ({ path }: ProxiedRequest) => path.endsWith('/complete');

export function bytesIn(proxy: FaultProxy, match: (request: ProxiedRequest) => boolean): number {
  return proxy.requests.filter(match).reduce((sum, { requestBytes }) => sum + requestBytes, 0);
}

export function memoryStore(): ResumeStore & { readonly records: Map<string, ResumeRecord> } {
  const records = new Map<string, ResumeRecord>();
  return {
    records,
    get: async (fingerprint) => records.get(fingerprint),
    set: async (fingerprint, record) => void records.set(fingerprint, record),
    delete: async (fingerprint) => void records.delete(fingerprint),
  };
}
