import { type SpawnOptions, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { access, constants, mkdir, mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { removeBuckets } from './remove-buckets.ts';
import { NotAvailable, onFreePorts, startServer, waitForHttp } from './start-server.ts';
import type { StartedStore } from './stores.ts';

const projectRoot = fileURLToPath(new URL('../../', import.meta.url));
const cacheFolder = join(projectRoot, '.cache/bin');
const credentials = { accessKeyId: 'partway-test', secretAccessKey: 'partway-test-secret' };

/** The S3 server that most sites run: from the first place that has one. */
export async function startMinio(): Promise<StartedStore> {
  const endpoint = process.env.S3_ENDPOINT;
  if (endpoint !== undefined && endpoint !== '') return givenStore(endpoint);
  if (process.env.PARTWAY_TEST_MINIO === 'docker') return startContainer();
  const binary = await provideMinio();
  return binary === undefined ? startContainer() : startBinary(binary);
}

/** The program, built where it is not there yet; `undefined` where that cannot be done. */
export async function provideMinio(): Promise<string | undefined> {
  return (await findBinary()) ?? (await buildBinary());
}

function givenStore(endpoint: string): StartedStore {
  const { S3_ACCESS_KEY_ID, S3_SECRET_ACCESS_KEY } = process.env;
  if (S3_ACCESS_KEY_ID === undefined || S3_SECRET_ACCESS_KEY === undefined) {
    throw new Error('S3_ENDPOINT is set: S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY must be set too.');
  }
  const store = {
    name: 's3',
    endpoint,
    bucketPrefix: `partway-test-${randomBytes(4).toString('hex')}-`,
    accessKeyId: S3_ACCESS_KEY_ID,
    secretAccessKey: S3_SECRET_ACCESS_KEY,
  } as const;
  return { ...store, stop: () => removeBuckets(store, store.bucketPrefix) };
}

async function findBinary(): Promise<string | undefined> {
  const named = process.env.PARTWAY_TEST_MINIO;
  if (named !== undefined && named !== '') {
    if (await isExecutable(named)) return named;
    throw new Error(`PARTWAY_TEST_MINIO names ${named}, which is not an executable file.`);
  }
  const folders = [...(process.env.PATH ?? '').split(delimiter), cacheFolder];
  for (const folder of folders) {
    const path = join(folder, 'minio');
    if (folder !== '' && (await isExecutable(path))) return path;
  }
  return undefined;
}

async function isExecutable(path: string): Promise<boolean> {
  return access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}

async function buildBinary(): Promise<string | undefined> {
  if (!(await succeeds('go', ['version'], { stdio: 'ignore' }))) return undefined;
  console.warn('MinIO is built from source into .cache/bin, once: this takes some minutes.');
  await mkdir(cacheFolder, { recursive: true });
  const built = await succeeds('go', ['install', 'github.com/minio/minio@latest'], {
    env: { ...process.env, GOBIN: cacheFolder, CGO_ENABLED: '0' },
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  return built ? join(cacheFolder, 'minio') : undefined;
}

function succeeds(command: string, args: readonly string[], options: SpawnOptions): Promise<boolean> {
  return new Promise((resolve) => {
    const child = spawn(command, args, options);
    child.once('error', () => resolve(false));
    child.once('exit', (code) => resolve(code === 0));
  });
}

/** Loaded only where it is needed: it brings a whole Docker client. */
async function startContainer(): Promise<StartedStore> {
  const { hasContainerEngine, startMinioContainer } = await import('./minio-container.ts');
  if (!(await hasContainerEngine())) {
    throw new NotAvailable(
      'there is no S3_ENDPOINT, no minio in PATH or .cache/bin, no Go toolchain, no Docker engine',
    );
  }
  console.warn('MinIO is built from source into a Docker image, once: this takes some minutes.');
  return startMinioContainer(credentials);
}

async function startBinary(binary: string): Promise<StartedStore> {
  return onFreePorts(1, async ([port]) => {
    const folder = await mkdtemp(join(tmpdir(), 'partway-minio-'));
    const server = startServer({
      command: binary,
      args: ['server', join(folder, 'data'), '--address', `127.0.0.1:${port}`],
      env: {
        PATH: process.env.PATH,
        HOME: folder,
        MINIO_ROOT_USER: credentials.accessKeyId,
        MINIO_ROOT_PASSWORD: credentials.secretAccessKey,
        MINIO_BROWSER: 'off',
        MINIO_UPDATE: 'off',
      },
      folder,
    });
    const endpoint = `http://127.0.0.1:${port}`;
    try {
      await waitForHttp(`${endpoint}/minio/health/ready`, server, { deadlineMs: 30_000, accepts: (s) => s === 200 });
    } catch (error) {
      await server.stop();
      throw error;
    }
    return { name: 'minio', endpoint, ...credentials, stop: () => server.stop() };
  });
}
