import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ProcessOutput } from './process-output.ts';
import type { TestStore } from './stores.ts';

const main = fileURLToPath(new URL('../../src/main.ts', import.meta.url));
const killingMain = fileURLToPath(new URL('killing-main.ts', import.meta.url));
/** As `npm start` has it. */
const nodeOptions = ['--max-semi-space-size=8'];
const dieWithParent = new URL('die-with-parent.ts', import.meta.url).href;

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface TestGateway {
  /** Stays the same over a restart. */
  readonly url: string;
  readonly pid: number;
  /** What it printed, this and earlier processes of it. */
  log(): string;
  /** How its present process ended, once it has. */
  readonly exited: Promise<Exit>;
  /** Ends it as a power cut would. */
  kill9(): Promise<void>;
  /** SIGTERM; resolves once it has ended in its own time, and its data folder is removed. */
  stop(): Promise<Exit>;
  /** Starts it anew, with the same data and port, after `kill9` or an end of its own; else ends it first. */
  restart(changes?: GatewayOptions): Promise<void>;
}

export interface GatewayOptions {
  /** Its settings; nothing but PATH is inherited. */
  readonly env?: Readonly<Record<string, string>>;
  /** Where it kills itself: `store.uploadPart:after:2` (see killing-main.ts). Not kept over a restart. */
  readonly killAt?: string;
  /** How long its leases hold on after it was killed; where it kills itself 2 s. */
  readonly leaseMs?: number;
}

/** The settings that send a gateway to this store, by way of a proxy where `endpoint` is given. */
export function storeSettings(store: TestStore, bucket: string, endpoint = store.endpoint): Record<string, string> {
  return {
    S3_ENDPOINT: endpoint,
    S3_BUCKET: bucket,
    S3_ACCESS_KEY_ID: store.accessKeyId,
    S3_SECRET_ACCESS_KEY: store.secretAccessKey,
  };
}

interface Running {
  readonly child: ChildProcess;
  readonly output: ProcessOutput;
  readonly exited: Promise<Exit>;
  readonly url: string;
}

/** Starts the gateway as its users do, a process of its own on a free port, and waits until it listens. */
export async function startTestGateway(options: GatewayOptions = {}): Promise<TestGateway> {
  const dataDir = await mkdtemp(join(tmpdir(), 'partway-gateway-'));
  const { leaseMs } = options;
  let { env = {} } = options;
  let earlierLog = '';

  let running = await start(options.killAt, '0').catch(async (error: unknown) => {
    await removeData();
    throw error;
  });

  async function start(killAt: string | undefined, port: string): Promise<Running> {
    const program = killAt === undefined && leaseMs === undefined ? main : killingMain;
    const child = spawn(process.execPath, [...nodeOptions, '--import', dieWithParent, program], {
      env: {
        PATH: process.env.PATH,
        PARTWAY_DATA_DIR: dataDir,
        PARTWAY_PORT: port,
        PARTWAY_TEST_FOLDER: dataDir,
        ...env,
        ...(killAt !== undefined && { PARTWAY_TEST_KILL_AT: killAt }),
        ...(leaseMs !== undefined && { PARTWAY_TEST_LEASE_MS: String(leaseMs) }),
      },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    const output = new ProcessOutput([child.stdout, child.stderr]);
    const exited = new Promise<Exit>((resolve) => child.once('close', (code, signal) => resolve({ code, signal })));
    const ended = exited.then(({ code, signal }): never => {
      throw new Error(`The gateway ended with ${signal ?? code} before it listened:\n${output.text}`);
    });
    ended.catch(() => undefined);
    try {
      const [, url = ''] = await output.waitFor(/listening on (http:\S+)$/m, { deadlineMs: 60_000, ended });
      return { child, output, exited, url };
    } catch (error) {
      child.kill('SIGKILL');
      throw error;
    }
  }

  async function removeData(): Promise<void> {
    await rm(dataDir, { recursive: true, force: true });
  }

  async function kill9(): Promise<void> {
    running.child.kill('SIGKILL');
    await running.exited;
  }

  return {
    get url() {
      return running.url;
    },
    get pid() {
      return running.child.pid ?? 0;
    },
    get exited() {
      return running.exited;
    },
    log: () => earlierLog + running.output.text,
    kill9,
    async stop() {
      running.child.kill('SIGTERM');
      const exit = await running.exited;
      await removeData();
      return exit;
    },
    async restart(changes = {}) {
      await kill9();
      earlierLog += running.output.text;
      env = { ...env, ...changes.env };
      running = await start(changes.killAt, new URL(running.url).port);
    },
  };
}
