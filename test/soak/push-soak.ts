import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { type FaultProxy, type ProxiedRequest, startFaultProxy } from '../support/fault-proxy.ts';
import { startTestGateway, storeSettings, type TestGateway } from '../support/gateway.ts';
import { type Place, TestReaper } from '../support/remains.ts';
import { Dice } from './dice.ts';
import { expectObject, inMiB, requireDisk, type SoakOptions, seconds } from './soak.ts';

const MiB = 1024 ** 2;
const largestFileBytes = 96 * MiB;
const uploadDeadlineMs = 300_000;
const program = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
const dieWithParent = new URL('../support/die-with-parent.ts', import.meta.url).href;
/** Interrupted, or temporary: the same command goes on. */
const codesToGoOn = new Set<number | null>([null, 5, 130, 143]);

export interface PushSoakReport {
  readonly kills: { readonly push: number; readonly gateway: number };
  readonly uploads: number;
  readonly runs: number;
  readonly storedBytes: number;
  readonly faults: number;
  readonly seconds: number;
}

/**
 * Pushes files while the push, the gateway, or both are killed with SIGKILL at random times, over lines that break and lose
 * answers, to the gateway as well as to the store. The same command is run until it ends well; every file has to arrive as it is,
 * and nothing may be left behind.
 */
export async function soakPushes(place: Place, { rounds, seed, print }: SoakOptions): Promise<PushSoakReport> {
  await requireDisk();
  const dice = new Dice(seed);
  const startedMs = Date.now();
  await using started = new AsyncDisposableStack();
  const reaper = started.use(new TestReaper(place));
  const storeLine = await startFaultProxy({ target: place.store.endpoint });
  started.defer(() => storeLine.stop());
  const gateway = await startTestGateway({
    env: {
      DATABASE_URL: place.databaseUrl,
      ...storeSettings(place.store, place.bucket, storeLine.url),
      PARTWAY_LOG_LEVEL: 'error',
    },
    leaseMs: 2_000,
  });
  started.defer(async () => void (await gateway.stop()));
  const line = await startFaultProxy({ target: () => gateway.url });
  started.defer(() => line.stop());
  const folder = await mkdtemp(join(tmpdir(), 'partway-push-soak-'));
  started.defer(() => rm(folder, { recursive: true, force: true }));

  const kills = { push: 0, gateway: 0 };
  let uploads = 0;
  let runs = 0;
  let storedBytes = 0;
  let faults = 0;
  try {
    while (kills.push + kills.gateway < rounds) {
      const key = `push-${seed}-${++uploads}`;
      const bytes = randomBytes(dice.between(MiB, largestFileBytes));
      const path = join(folder, key);
      await writeFile(path, bytes);
      const way = dice.pick(['--relay', '--direct', '']);
      const args = ['push', path, key, '--server', line.url, '-q', '--parallel', String(dice.between(1, 6))];
      harm(line, storeLine, dice);
      const begunMs = Date.now();
      const before = { ...kills, runs };
      await pushUntilDone({ args: way === '' ? args : [...args, way], folder, gateway, dice, kills, rounds }, () => {
        runs++;
      });
      faults += [...line.requests, ...storeLine.requests].filter(({ fault }) => fault !== undefined).length;
      line.clear();
      storeLine.clear();
      await expectObject(place, key, bytes);
      await rm(path);
      storedBytes += bytes.length;
      print(
        `push ${uploads}: ${inMiB(bytes.length)} ${way}: killed ${kills.push - before.push} times, its gateway ` +
          `${kills.gateway - before.gateway} times, equal after ${runs - before.runs} runs, ${seconds(begunMs)} s; ` +
          `${kills.push + kills.gateway} of ${rounds} kills`,
      );
      await reaper.reapAll();
    }
  } catch (error) {
    print(`the gateway's last words:\n${gateway.log().slice(-4000)}`);
    throw error;
  }
  return { kills, uploads, runs, storedBytes, faults, seconds: seconds(startedMs) };
}

/** Breaks, lost answers and refusals, on both lines. */
function harm(line: FaultProxy, storeLine: FaultProxy, dice: Dice): void {
  const oneIn = (count: number) => (request: ProxiedRequest) =>
    !request.path.includes('/minio/') && dice.isOneIn(count);
  line.rule({
    match: oneIn(10),
    fault: { kind: 'reset', at: { on: 'request', afterBytes: dice.between(0, 4 * MiB) } },
  });
  line.rule({ match: oneIn(20), fault: { kind: 'dropAnswer' } });
  line.rule({ match: oneIn(30), fault: { kind: 'answer', status: 503, body: 'full' } });
  storeLine.rule({ match: oneIn(25), fault: { kind: 'reset', at: { on: 'request', afterBytes: MiB } } });
  storeLine.rule({ match: oneIn(25), fault: { kind: 'dropAnswer' } });
  storeLine.rule({ match: oneIn(25), fault: { kind: 'answer', status: 503, code: 'SlowDown' } });
}

async function pushUntilDone(
  push: {
    readonly args: readonly string[];
    readonly folder: string;
    readonly gateway: TestGateway;
    readonly dice: Dice;
    readonly kills: { push: number; gateway: number };
    readonly rounds: number;
  },
  onRun: () => void,
): Promise<void> {
  const { args, folder, gateway, dice, kills, rounds } = push;
  const deadlineMs = Date.now() + uploadDeadlineMs;
  for (;;) {
    if (Date.now() > deadlineMs) throw new Error(`not pushed within ${uploadDeadlineMs / 1000} s`);
    onRun();
    const child = spawn(process.execPath, ['--import', dieWithParent, program, ...args], {
      env: { PATH: process.env.PATH, HOME: folder, XDG_STATE_HOME: join(folder, 'state') },
      stdio: ['pipe', 'ignore', 'pipe'],
    });
    let said = '';
    child.stderr.on('data', (text) => {
      said += text;
    });
    const ended = new AbortController();
    const code = new Promise<number | null>((resolve) =>
      child.once('close', (exitCode) => {
        ended.abort();
        resolve(exitCode);
      }),
    );
    while (!ended.signal.aborted && kills.push + kills.gateway < rounds) {
      await sleep(dice.spread(100, 4_000), undefined, { signal: ended.signal }).catch(() => undefined);
      if (ended.signal.aborted) break;
      const whom = dice.pick(['push', 'gateway', 'both'] as const);
      if (whom !== 'gateway') {
        child.kill('SIGKILL');
        kills.push++;
      }
      if (whom !== 'push') {
        await gateway.kill9();
        kills.gateway++;
        await gateway.restart();
      }
    }
    const exitCode = await code;
    if (exitCode === 0) return;
    if (!codesToGoOn.has(exitCode)) throw new Error(`the push ended with ${exitCode}: ${said}`);
  }
}
