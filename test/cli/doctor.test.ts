import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import {
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  PutBucketLifecycleConfigurationCommand,
} from '@aws-sdk/client-s3';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createApiKey } from '../../src/db/api-keys.ts';
import { Connection } from '../../src/db/connection.ts';
import { startTestGateway, storeSettings, type TestGateway } from '../support/gateway.ts';
import { createTestDatabase, type TestDatabase } from '../support/postgres.ts';
import { runPartway } from '../support/run-partway.ts';
import { clientOf, createBucket, type TestStore, useMinio } from '../support/stores.ts';

const minio = await useMinio();

let folder: string;
let database: TestDatabase;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'partway-doctor-'));
  database = await createTestDatabase();
});
afterAll(async () => {
  await database.drop();
  await rm(folder, { recursive: true, force: true });
});

interface Finding {
  readonly check: string;
  readonly level: string;
  readonly message: string;
  readonly exitCode?: number;
  readonly details?: Record<string, unknown>;
}

type Section = 'settings' | 'gateway' | 'records' | 'store';

/** What it found, by section, in one JSON document. */
async function doctor(env: Record<string, string> = {}, ...args: string[]) {
  const { code, stdout, stderr } = await runPartway(['doctor', '--json', ...args], {
    PARTWAY_DATA_DIR: folder,
    ...env,
  });
  expect(stderr).toBe('');
  const report = JSON.parse(stdout) as { exitCode: number; sections: { name: Section; findings: Finding[] }[] };
  expect(report.exitCode).toBe(code);
  expect(report.sections.map(({ name }) => name)).toEqual(['settings', 'gateway', 'records', 'store']);
  const findings = (name: Section) => report.sections.find((section) => section.name === name)?.findings ?? [];
  return {
    code,
    findings,
    levels: (name: Section) => Object.fromEntries(findings(name).map(({ check, level }) => [check, level])),
    messages: (name: Section) => findings(name).map(({ message }) => message),
    faults: report.sections.flatMap((section) => section.findings.filter(({ level }) => level === 'fault')),
  };
}

async function selfSigned(
  days: number,
): Promise<{ readonly key: string; readonly cert: string; readonly file: string }> {
  const [keyFile, file] = [join(folder, 'tls.key'), join(folder, 'tls.crt')];
  const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost', '-days', String(days)];
  const args = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', ...subject];
  await promisify(execFile)('openssl', [...args, '-keyout', keyFile, '-out', file]);
  return { key: await readFile(keyFile, 'utf8'), cert: await readFile(file, 'utf8'), file };
}

/** Takes connections and says nothing. */
async function silentServer(): Promise<{ port: number; close(): void }> {
  const sockets = new Set<{ destroy(): void }>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  return {
    port: (server.address() as AddressInfo).port,
    close: () => {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

describe('partway doctor, with nothing set', () => {
  it('says what is not there yet, makes nothing, and exits 0', async () => {
    const { code, levels, messages } = await doctor();
    expect(code).toBe(0);
    expect(levels('gateway')).toEqual({ server: 'note' });
    expect(messages('records')).toEqual([expect.stringContaining('no gateway has run in')]);
    expect(messages('store')).toEqual([expect.stringContaining('no gateway has run yet')]);
    expect(await readdir(folder)).not.toContain('store');
    expect(await readdir(folder)).not.toContain('postgres');
  });

  it('prints for people, in colour only where that is wanted', async () => {
    const plain = await runPartway(['doctor'], { PARTWAY_DATA_DIR: folder, NO_COLOR: '1' });
    expect(plain).toMatchObject({ code: 0, stderr: '' });
    expect(plain.stdout).toMatch(/^settings\n {2}· PARTWAY_DATA_DIR +\S+ \(environment\)\n/);
    expect(plain.stdout).toMatch(/\n {2}· PARTWAY_PORT +8080 \(default\)\n/);
    expect(plain.stdout).toMatch(/\n {2}✓ the settings are valid\ngateway\n/);
    expect(plain.stdout).toMatch(/\nno faults, 0 warnings\n$/);
    expect(plain.stdout).not.toContain('\u001b');
    const coloured = await runPartway(['doctor'], { PARTWAY_DATA_DIR: folder, FORCE_COLOR: '1' });
    expect(coloured.stdout).toContain('\u001b[32m✓');
  });
});

describe('partway doctor and the settings', () => {
  it('tells each one and where it comes from, and never a secret', async () => {
    const env = {
      PARTWAY_DATA_DIR: folder,
      DATABASE_URL: 'postgres://user:hunter2@127.0.0.1:1/partway',
      S3_BUCKET: 'bucket',
      S3_ENDPOINT: 'http://root:hunter2@127.0.0.1:1',
      S3_ACCESS_KEY_ID: 'someone',
      S3_SECRET_ACCESS_KEY: 'hunter2',
      PARTWAY_API_KEY: 'partway_hunter2',
      PARTWAY_URL: 'http://key:hunter2@127.0.0.1:1',
    };
    const { code, findings } = await doctor(env);
    expect(code).toBe(5);
    const told = new Map(findings('settings').map(({ details = {} }) => [details.name, details]));
    expect(told.get('DATABASE_URL')).toMatchObject({ value: '(set)', source: 'environment' });
    expect(told.get('S3_SECRET_ACCESS_KEY')).toMatchObject({ value: '(set)', source: 'environment' });
    expect(told.get('PARTWAY_API_KEY')).toMatchObject({ value: '(set)', source: 'environment' });
    expect(told.get('S3_ENDPOINT')).toMatchObject({ value: 'http://(set)@127.0.0.1:1' });
    expect(told.get('PARTWAY_PORT')).toMatchObject({ value: '8080', source: 'default' });
    const { stdout, stderr } = await runPartway(['doctor'], env);
    expect(JSON.stringify(findings('settings')) + stdout + stderr).not.toContain('hunter2');
  });

  it('that are wrong are named, exit 2, and a gateway is looked at all the same', async () => {
    const { code, faults, levels } = await doctor({ PARTWAY_PORT: 'http' }, '--server', 'http://127.0.0.1:1');
    expect(code).toBe(2);
    expect(faults[0]?.message).toContain('PARTWAY_PORT: given: "http", wanted: a port from 0 to 65535');
    expect(levels('gateway')).toEqual({ connect: 'fault' });
    expect(levels('store')).toEqual({ settings: 'note' });
  });

  it('that are none of ours are told', async () => {
    const { code, findings } = await doctor({ PARTWAY_COLOUR: 'red', PARTWAY_API_KEY_FILE: '/dev/null' });
    expect(code).toBe(0);
    expect(findings('settings').filter(({ level }) => level === 'warning')).toEqual([
      expect.objectContaining({ message: 'PARTWAY_COLOUR is not a setting of this program' }),
    ]);
  });
});

describe('partway doctor beside a gateway with embedded Postgres and disk', () => {
  let gateway: TestGateway;
  let dataDir: string;
  beforeAll(async () => {
    dataDir = join(folder, 'running');
    gateway = await startTestGateway({ env: { PARTWAY_DATA_DIR: dataDir } });
  });
  afterAll(() => gateway.stop());

  it('finds all well, exit 0, and leaves nothing behind', async () => {
    const { code, levels, findings } = await doctor({ PARTWAY_DATA_DIR: dataDir, PARTWAY_URL: gateway.url });
    expect(code).toBe(0);
    expect(levels('gateway')).toEqual({
      connect: 'ok',
      healthz: 'ok',
      clock: 'ok',
      readyz: 'ok',
      version: 'note',
      auth: 'ok',
    });
    expect(levels('records')).toEqual({ connect: 'ok', migrations: 'ok' });
    expect(levels('store')).toEqual({
      disk: 'note',
      bucket: 'ok',
      round_trip: 'ok',
      digests: 'note',
      presigning: 'note',
      copy: 'ok',
      conditional_complete: 'ok',
    });
    expect(findings('store').find(({ check }) => check === 'round_trip')?.details).toMatchObject({
      inMiBPerSecond: expect.any(Number),
      outMiBPerSecond: expect.any(Number),
    });
    const files = await readdir(join(dataDir, 'store'), { recursive: true });
    expect(files.filter((name) => name.includes('doctor'))).toEqual([]);
    expect((await fetch(`${gateway.url}/readyz`)).status).toBe(200);
  });
});

describe('partway doctor and what stands before a gateway', () => {
  let gateway: TestGateway;
  let certificate: { readonly key: string; readonly cert: string; readonly file: string };
  beforeAll(async () => {
    gateway = await startTestGateway({ env: { DATABASE_URL: database.url } });
    certificate = await selfSigned(7);
  });
  afterAll(() => gateway.stop());

  /** Hands requests on, and answers back with another time on them. */
  async function withProxy(
    options: { readonly tls?: true; readonly clockAheadMs?: number },
    work: (url: string) => Promise<void>,
  ): Promise<void> {
    const { clockAheadMs = 0 } = options;
    const handOn = async ({ url = '/' }: IncomingMessage, response: ServerResponse) => {
      const answer = await fetch(new URL(url, gateway.url));
      const date = new Date(Date.now() + clockAheadMs).toUTCString();
      response.writeHead(answer.status, { date }).end(await answer.text());
    };
    const server = options.tls ? createHttpsServer(certificate, handOn) : createHttpServer(handOn);
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    try {
      await work(`${options.tls ? 'https' : 'http'}://localhost:${(server.address() as AddressInfo).port}`);
    } finally {
      server.closeAllConnections();
      server.close();
    }
  }

  it('looks through TLS that it trusts, and warns of a certificate that ends soon', () =>
    withProxy({ tls: true }, async (url) => {
      const { code, levels, messages } = await doctor({ NODE_EXTRA_CA_CERTS: certificate.file }, '--server', url);
      expect(code).toBe(0);
      expect(levels('gateway')).toMatchObject({ dns: 'ok', connect: 'ok', certificate: 'warning', auth: 'ok' });
      expect(messages('gateway')[1]).toContain('TLSv1.3');
    }));

  it('says that a certificate is not trusted, exit 2', () =>
    withProxy({ tls: true }, async (url) => {
      const { code, faults } = await doctor({}, '--server', url);
      expect({ code, faults }).toEqual({ code: 2, faults: [expect.objectContaining({ check: 'tls' })] });
      expect(faults[0]?.message).toContain('self-signed certificate');
    }));

  it.each([
    [60_000, 'warning', 0, 'ahead of'],
    [-3_600_000, 'fault', 2, 'behind'],
  ])('tells of a clock that is %i ms off: %s, exit %i', (clockAheadMs, level, exitCode, where) =>
    withProxy({ clockAheadMs }, async (url) => {
      const { code, findings } = await doctor({}, '--server', url);
      const clock = findings('gateway').find(({ check }) => check === 'clock');
      expect({ code, level: clock?.level }).toEqual({ code: exitCode, level });
      const [, seconds] = clock?.message.match(`its clock is (\\d+) s ${where} this one`) ?? [];
      // The answer was under way for a while.
      expect(Math.abs(Number(seconds) - Math.abs(clockAheadMs) / 1000)).toBeLessThan(30);
    }),
  );
});

describe('partway doctor and a gateway whose store is away', () => {
  it('names what is away, exit 5', async () => {
    const store = {
      S3_ENDPOINT: 'http://127.0.0.1:1',
      S3_BUCKET: 'gone',
      S3_ACCESS_KEY_ID: 'a',
      S3_SECRET_ACCESS_KEY: 'b',
    };
    const gateway = await startTestGateway({ env: { DATABASE_URL: database.url, ...store } });
    try {
      const { code, faults } = await doctor({}, '--server', gateway.url);
      expect({ code, faults }).toMatchObject({
        code: 5,
        faults: [{ check: 'readyz', details: { failing: ['store'] } }],
      });
    } finally {
      await gateway.stop();
    }
  });
});

describe('partway doctor and a gateway that wants keys', () => {
  let gateway: TestGateway;
  let secret: string;
  beforeAll(async () => {
    gateway = await startTestGateway({ env: { DATABASE_URL: database.url, PARTWAY_AUTH: 'keys' } });
    const connection = new Connection({ url: database.url, onIdleError: () => undefined });
    const scopes = ['uploads:read'] as const;
    const made = await createApiKey(connection, {
      tenant: 'doctor',
      tenantKeyPrefix: undefined,
      name: '',
      scopes,
      bucket: undefined,
      keyPrefix: '',
      stagingPrefix: '.partway/',
    });
    secret = made.secret;
    await connection.close();
  });
  afterAll(() => gateway.stop());

  it('takes the key from the environment, a file or the URL', async () => {
    const file = join(folder, 'key');
    await writeFile(file, `${secret}\n`);
    for (const env of [
      { PARTWAY_URL: gateway.url, PARTWAY_API_KEY: secret },
      { PARTWAY_URL: gateway.url, PARTWAY_API_KEY_FILE: file },
      { PARTWAY_URL: gateway.url.replace('//', `//key:${secret}@`) },
    ]) {
      const { levels } = await doctor(env);
      expect(levels('gateway')).toMatchObject({ auth: 'ok' });
    }
  });

  it('says that one is missing or wrong, exit 6', async () => {
    const without = await doctor({}, '--server', gateway.url);
    expect(without.code).toBe(6);
    expect(without.faults).toEqual([expect.objectContaining({ check: 'auth', exitCode: 6 })]);
    expect(without.faults[0]?.message).toContain('Set PARTWAY_API_KEY or PARTWAY_API_KEY_FILE.');
    const wrong = await doctor({ PARTWAY_API_KEY: `${secret}x` }, '--server', gateway.url);
    expect(wrong).toMatchObject({ code: 6, faults: [{ message: 'This API key is not valid.' }] });
  });

  it('says that the file of the key cannot be read, exit 2', async () => {
    const { code, faults } = await doctor({ PARTWAY_API_KEY_FILE: join(folder, 'none') }, '--server', gateway.url);
    expect({ code, check: faults[0]?.check }).toEqual({ code: 2, check: 'auth' });
  });
});

describe('partway doctor and the records', () => {
  it('tells of migrations that are not applied, and applies none', async () => {
    const empty = new URL(database.url);
    const admin = new pg.Client({ connectionString: database.url });
    await admin.connect();
    const name = `doctor_${randomBytes(6).toString('hex')}`;
    await admin.query(`create database ${name}`);
    empty.pathname = `/${name}`;
    try {
      const { code, levels, findings } = await doctor({ DATABASE_URL: empty.href });
      expect(code).toBe(0);
      expect(levels('records')).toEqual({ connect: 'ok', migrations: 'warning' });
      expect(findings('records')[1]?.details).toMatchObject({ applied: 0 });
      const again = await doctor({ DATABASE_URL: empty.href });
      expect(again.findings('records')[1]?.details).toMatchObject({ applied: 0 });
    } finally {
      await admin.query(`drop database ${name} with (force)`);
      await admin.end();
    }
  });

  it('tells of those of a newer version, exit 2', async () => {
    const newer = await createTestDatabase();
    const client = new pg.Client({ connectionString: newer.url });
    await client.connect();
    await client.query("insert into drizzle.__drizzle_migrations (hash, created_at) values ('later', 9999999999999)");
    await client.end();
    const { code, levels } = await doctor({ DATABASE_URL: newer.url });
    expect({ code, migrations: levels('records').migrations }).toEqual({ code: 2, migrations: 'fault' });
    await newer.drop();
  });

  it.each([
    ['cannot be reached', 5, (url: URL) => Object.assign(url, { port: '1' })],
    ['let this user not in', 6, (url: URL) => Object.assign(url, { password: 'hunter2' })],
    ['have no such database', 2, (url: URL) => Object.assign(url, { pathname: '/nowhere' })],
  ])('that %s are told, exit %i, without a password', async (_, exitCode, change) => {
    const { code, faults } = await doctor({ DATABASE_URL: change(new URL(database.url)).href });
    expect({ code, faults }).toEqual({ code: exitCode, faults: [expect.objectContaining({ check: 'connect' })] });
    expect(JSON.stringify(faults)).not.toContain('hunter2');
  });
});

describe.skipIf(minio === undefined)('partway doctor and MinIO', () => {
  const store = minio as TestStore;
  let bucket: string;
  beforeAll(async () => {
    bucket = await createBucket(store);
  });

  it('tries all that uploads need, warns of the purge, and leaves nothing behind', async () => {
    const { code, levels, messages } = await doctor(storeSettings(store, bucket));
    expect(code).toBe(0);
    expect(levels('store')).toMatchObject({
      connect: 'ok',
      bucket: 'ok',
      server: 'note',
      clock: 'ok',
      round_trip: 'ok',
      digests: 'ok',
      presigning: 'ok',
      copy: 'ok',
      conditional_complete: 'ok',
      purge: 'warning',
      lifecycle: 'ok',
    });
    expect(messages('store').join()).toContain('MINIO_API_STALE_UPLOADS_EXPIRY');
    const client = clientOf(store);
    expect((await client.send(new ListObjectsV2Command({ Bucket: bucket }))).KeyCount).toBe(0);
    expect((await client.send(new ListMultipartUploadsCommand({ Bucket: bucket }))).Uploads ?? []).toEqual([]);
    client.destroy();
  });

  it('warns of a rule that deletes what unfinished uploads keep, and tells of others', async () => {
    const client = clientOf(store);
    const rule = (ID: string, Prefix: string) => ({
      ...{ ID, Status: 'Enabled' as const, Filter: { Prefix }, Expiration: { Days: 2 } },
    });
    const LifecycleConfiguration = { Rules: [rule('all', ''), rule('logs', 'logs/')] };
    await client.send(new PutBucketLifecycleConfigurationCommand({ Bucket: bucket, LifecycleConfiguration }));
    client.destroy();
    const { code, findings } = await doctor({ ...storeSettings(store, bucket), PARTWAY_STORE_KEEPS: '7d' });
    expect(code).toBe(0);
    expect(findings('store').filter(({ check }) => check === 'lifecycle')).toMatchObject([
      { level: 'warning', message: expect.stringContaining('unfinished uploads keep under .partway/') },
      { level: 'note', message: 'lifecycle rule "logs" (keys under "logs/") deletes objects after 2 days' },
    ]);
    expect(findings('store').find(({ check }) => check === 'purge')?.level).toBe('note');
  });

  it.each([
    ['wrong keys', 6, { S3_SECRET_ACCESS_KEY: 'wrong' }],
    ['a bucket that is not there', 2, { S3_BUCKET: 'there-is-none' }],
    ['a further bucket that is not there', 2, { PARTWAY_BUCKETS: 'there-is-none' }],
    ['an address where nobody listens', 5, { S3_ENDPOINT: 'http://127.0.0.1:1' }],
  ])('given %s is told so, exit %i', async (_, exitCode, change) => {
    const { code, faults } = await doctor({ ...storeSettings(store, bucket), ...change });
    expect({ code, count: faults.length }).toEqual({ code: exitCode, count: 1 });
  });

  it('that speaks no TLS is told so, exit 2', async () => {
    const endpoint = store.endpoint.replace('http:', 'https:');
    const { code, faults } = await doctor(storeSettings(store, bucket, endpoint));
    expect({ code, faults }).toEqual({ code: 2, faults: [expect.objectContaining({ check: 'tls' })] });
  });
});

describe('partway doctor and servers that say nothing', () => {
  it('waits for none of them longer than its deadline, exit 5', async () => {
    const silent = await silentServer();
    const place = `127.0.0.1:${silent.port}`;
    try {
      const { code, levels, messages } = await doctor(
        {
          DATABASE_URL: `postgres://user@${place}/partway`,
          S3_BUCKET: 'bucket',
          S3_ENDPOINT: `http://${place}`,
          S3_ACCESS_KEY_ID: 'a',
          S3_SECRET_ACCESS_KEY: 'b',
        },
        '--server',
        `http://${place}`,
      );
      expect(code).toBe(5);
      expect(messages('gateway')).toContain('GET /healthz: no answer within 5 s');
      expect(levels('records')).toEqual({ connect: 'fault' });
      expect(levels('store')).toEqual({ connect: 'ok', call: 'fault' });
    } finally {
      silent.close();
    }
  });

  it('takes a server that is no gateway for none, exit 2', async () => {
    const other = createHttpServer((_request, response) => response.end('hello'));
    await new Promise<void>((done) => other.listen(0, '127.0.0.1', done));
    const { port } = other.address() as AddressInfo;
    const { code, faults } = await doctor({}, '--server', `http://127.0.0.1:${port}`);
    expect({ code, check: faults[0]?.check }).toEqual({ code: 2, check: 'healthz' });
    other.close();
  });
});
