import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readSettings } from '../../../src/config.ts';
import type { CoreSettings } from '../../../src/core/deps.ts';
import type { UploadRecords } from '../../../src/core/upload-records.ts';
import { startGateway } from '../../../src/gateway.ts';
import { storeSettings } from '../../support/gateway.ts';
import { createTestDatabase } from '../../support/postgres.ts';
import { createBucket, type TestStore, useMinio, useRgw } from '../../support/stores.ts';
import { RestClient } from './rest-client.ts';
import { StoreProbe } from './store-probe.ts';

export type StoreName = 'disk' | 'minio' | 'rgw';

/** The stores that the whole front is tested on; `minio` may be any S3 store that S3_ENDPOINT names. */
export async function availableStores(): Promise<readonly StoreName[]> {
  return (await useMinio()) === undefined ? ['disk'] : ['disk', 'minio'];
}

/** Besides these, Ceph RGW where it can be had. */
export async function allStores(): Promise<readonly StoreName[]> {
  return [...(await availableStores()), ...((await useRgw()) === undefined ? [] : (['rgw'] as const))];
}

export interface RestGatewayOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly coreSettings?: Partial<CoreSettings>;
  readonly wrapRecords?: (records: UploadRecords) => UploadRecords;
  /** A gateway over whose records and store this one stands, too. */
  readonly beside?: RestGateway;
}

export interface RestGateway {
  readonly url: string;
  readonly client: RestClient;
  readonly probe: StoreProbe;
  readonly bucket: string;
  readonly databaseUrl: string;
  /** What a further gateway beside it is started with. */
  readonly placeSettings: Readonly<Record<string, string>>;
  stop(): Promise<void>;
}

/** A gateway in this process, with a database of its own, and a bucket or folder of its own. */
export async function startRestGateway(store: StoreName, options: RestGatewayOptions = {}): Promise<RestGateway> {
  await using started = new AsyncDisposableStack();
  const placeSettings = options.beside?.placeSettings ?? (await newPlace(store, started));
  const probe = new StoreProbe();
  const gateway = await startGateway(
    readSettings({
      PARTWAY_PORT: '0',
      PARTWAY_LOG_LEVEL: 'error',
      PARTWAY_READ_OBJECTS: 'true',
      // What a test left hanging must not hold up the run.
      PARTWAY_SHUTDOWN_GRACE: '1s',
      ...placeSettings,
      ...options.env,
    }),
    {
      wrapStore: probe.wrap,
      ...(options.wrapRecords && { wrapRecords: options.wrapRecords }),
      ...(options.coreSettings && { coreSettings: options.coreSettings }),
    },
  );
  started.defer(() => gateway.stop());
  const client = new RestClient(gateway.url);
  started.defer(() => client.close());
  const owned = started.move();
  return {
    url: gateway.url,
    client,
    probe,
    bucket: placeSettings.S3_BUCKET ?? 'default',
    databaseUrl: placeSettings.DATABASE_URL ?? '',
    placeSettings,
    stop: () => owned.disposeAsync(),
  };
}

async function newPlace(store: StoreName, started: AsyncDisposableStack): Promise<Record<string, string>> {
  const database = await createTestDatabase();
  started.defer(() => database.drop());
  if (store === 'disk') {
    const dataDir = await mkdtemp(join(tmpdir(), 'partway-rest-'));
    started.defer(() => rm(dataDir, { recursive: true, force: true }));
    return { DATABASE_URL: database.url, PARTWAY_DATA_DIR: dataDir };
  }
  const s3 = await requireStore(store);
  return { DATABASE_URL: database.url, ...storeSettings(s3, await createBucket(s3)) };
}

async function requireStore(name: 'minio' | 'rgw'): Promise<TestStore> {
  const store = name === 'rgw' ? await useRgw() : await useMinio();
  if (store === undefined) throw new Error('There is no such store in this run.');
  return store;
}
