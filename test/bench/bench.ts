import { randomBytes } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { DeleteObjectsCommand, ListObjectsV2Command } from '@aws-sdk/client-s3';
import pg from 'pg';
import { startTestGateway, storeSettings } from '../support/gateway.ts';
import { startMinio } from '../support/minio.ts';
import { startPostgres } from '../support/postgres-server.ts';
import { NotAvailable, startServer } from '../support/start-server.ts';
import { clientOf, createBucket, type TestStore } from '../support/stores.ts';

/** A process that the bench measures. */
export interface Measured {
  readonly url: string;
  readonly pid: number;
}

export interface Sink extends Measured {
  /** Settings of a gateway that stores there. */
  readonly settings: Readonly<Record<string, string>>;
  /** How often it was called so far, by operation. */
  calls(): Promise<Readonly<Record<string, number>>>;
}

export interface Store {
  readonly settings: Readonly<Record<string, string>>;
  /** The same store by way of another endpoint. */
  settingsAt(endpoint: string): Readonly<Record<string, string>>;
  readonly endpoint: string;
  /** Deletes what the contenders have stored so far. */
  empty(): Promise<void>;
}

/** The servers of one bench, each started when a row first asks for it; ended with the bench. */
export class Bench {
  readonly #started = new AsyncDisposableStack();
  #postgres: Promise<string> | undefined;
  #minio: Promise<Store | undefined> | undefined;

  /** An empty database of its own. */
  async database(): Promise<string> {
    this.#postgres ??= this.#startPostgres();
    const url = new URL(await this.#postgres);
    const name = `bench_${randomBytes(6).toString('hex')}`;
    const client = new pg.Client({ connectionString: url.href });
    await client.connect();
    try {
      await client.query(`CREATE DATABASE ${name}`);
    } finally {
      await client.end();
    }
    url.pathname = `/${name}`;
    return url.href;
  }

  /** A real store; `undefined` where none can be had. */
  minio(): Promise<Store | undefined> {
    this.#minio ??= this.#startMinio();
    return this.#minio;
  }

  /** A store that discards. */
  async sink(): Promise<Sink> {
    const sink = await this.process('sink.ts');
    return {
      ...sink,
      settings: {
        S3_ENDPOINT: sink.url,
        S3_BUCKET: 'sink',
        S3_ACCESS_KEY_ID: 'sink',
        S3_SECRET_ACCESS_KEY: 'sink',
      },
      calls: async () => (await (await fetch(`${sink.url}/-/calls`)).json()) as Record<string, number>,
    };
  }

  /** The gateway as its users run it. */
  async gateway(settings: Readonly<Record<string, string>>): Promise<Measured> {
    const gateway = await startTestGateway({ env: { DATABASE_URL: await this.database(), ...settings } });
    this.#started.defer(async () => {
      await gateway.stop();
    });
    return gateway;
  }

  /** One of the programs in `servers/`. */
  async process(
    file: 'sink.ts' | 'plain-pipe.ts' | 'tus.ts' | 'lib-storage.ts' | 'small-parts-gateway.ts',
    {
      args = [],
      env = {},
    }: { readonly args?: readonly string[]; readonly env?: Readonly<Record<string, string>> } = {},
  ): Promise<Measured> {
    const server = startServer({
      command: process.execPath,
      args: [fileURLToPath(new URL(`servers/${file}`, import.meta.url)), ...args],
      env: { PATH: process.env.PATH, ...env },
    });
    this.#started.defer(() => server.stop());
    const [, url = '', pid = ''] = await server.waitForLine(/^listening on (\S+) as process (\d+)$/m, {
      deadlineMs: 60_000,
    });
    return { url, pid: Number(pid) };
  }

  /** Ends with the bench. */
  defer(end: () => Promise<void> | void): void {
    this.#started.defer(end);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#started.disposeAsync();
  }

  async #startPostgres(): Promise<string> {
    const postgres = await startPostgres();
    this.#started.defer(() => postgres.stop());
    return postgres.url;
  }

  async #startMinio(): Promise<Store | undefined> {
    try {
      const minio = await startMinio();
      this.#started.defer(() => minio.stop());
      return await storeIn(minio, await createBucket(minio));
    } catch (error) {
      if (!(error instanceof NotAvailable)) throw error;
      return undefined;
    }
  }
}

async function storeIn(store: TestStore, bucket: string): Promise<Store> {
  const client = clientOf(store);
  return {
    endpoint: store.endpoint,
    settings: storeSettings(store, bucket),
    settingsAt: (endpoint) => storeSettings(store, bucket, endpoint),
    empty: async () => {
      const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket: bucket }));
      const Objects = Contents.map(({ Key }) => ({ Key }));
      if (Objects.length > 0) await client.send(new DeleteObjectsCommand({ Bucket: bucket, Delete: { Objects } }));
    },
  };
}
