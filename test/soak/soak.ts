import { createHash, randomBytes } from 'node:crypto';
import { statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { DeleteObjectCommand } from '@aws-sdk/client-s3';
import { readStored } from '../fault/stored-object.ts';
import { type ByteRange, ChunkClient } from '../support/chunk-client.ts';
import { startTestGateway, storeSettings, type TestGateway } from '../support/gateway.ts';
import { type Place, TestReaper } from '../support/remains.ts';
import { clientOf } from '../support/stores.ts';
import { Dice } from './dice.ts';

const KiB = 1024;
const MiB = 1024 * KiB;
const smallestChunkBytes = 100 * KiB;
const largestChunkBytes = 20 * MiB;
const largestFileBytes = 96 * MiB;
/** The store holds an upload's fragments, its parts, and the object. */
const neededBytes = 8 * largestFileBytes;
const uploadDeadlineMs = 300_000;

export interface SoakOptions {
  /** How often the gateway is killed. */
  readonly rounds: number;
  readonly seed: number;
  readonly print: (line: string) => void;
}

export interface SoakReport {
  readonly kills: number;
  readonly uploads: number;
  readonly storedBytes: number;
  readonly answers: ReadonlyMap<number | 'cut', number>;
  readonly seconds: number;
}

/** @throws Error with how much is missing */
export async function requireDisk(): Promise<void> {
  const { bavail, bsize } = await statfs(tmpdir());
  const freeBytes = bavail * bsize;
  if (freeBytes < neededBytes) {
    throw new Error(`${tmpdir()} has ${inMiB(freeBytes)} free; the soak needs ${inMiB(neededBytes)}.`);
  }
}

/**
 * Kills the gateway with SIGKILL at random times, again and again, while a client uploads files to it in chunks of
 * random sizes, on a few connections, some of which it breaks off; it goes on by what the gateway answers. Every file has to
 * arrive as it is, and nothing may be left behind.
 */
export async function soak(place: Place, { rounds, seed, print }: SoakOptions): Promise<SoakReport> {
  await requireDisk();
  const dice = new Dice(seed);
  const startedMs = Date.now();
  const answers = new Map<number | 'cut', number>();
  await using reaper = new TestReaper(place);
  const gateway = await startTestGateway({
    env: { DATABASE_URL: place.databaseUrl, ...storeSettings(place.store, place.bucket), PARTWAY_LOG_LEVEL: 'error' },
    leaseMs: 2_000,
  });
  let kills = 0;
  let uploads = 0;
  let storedBytes = 0;
  try {
    while (kills < rounds) {
      const key = `soak-${seed}-${++uploads}`;
      const file = randomBytes(dice.between(MiB, largestFileBytes));
      const client = new ChunkClient(file, () => `${gateway.url}/objects/${key}`);
      const plan = {
        threads: dice.between(1, 6),
        largestChunkBytes: dice.spread(smallestChunkBytes, largestChunkBytes),
      };
      const begunMs = Date.now();
      const done = new AbortController();
      const killer = killAgainAndAgain(gateway, dice, { atMost: rounds - kills, until: done.signal });
      let killed = 0;
      try {
        await upload(client, dice, plan);
      } finally {
        done.abort();
        killed = await killer;
      }
      kills += killed;
      storedBytes += file.length;
      for (const [status, count] of client.answers) answers.set(status, (answers.get(status) ?? 0) + count);
      await expectObject(place, key, file);
      print(
        `upload ${uploads}: ${inMiB(file.length)} on ${plan.threads} connections, chunks up to ` +
          `${inMiB(plan.largestChunkBytes)}: killed ${killed} times, equal after ${seconds(begunMs)} s ` +
          `(${describe(client.answers)}); ${kills} of ${rounds} kills`,
      );
      await reaper.reapAll();
    }
  } catch (error) {
    print(`the gateway's last words:\n${gateway.log().slice(-4000)}`);
    throw error;
  } finally {
    await gateway.stop();
  }
  return { kills, uploads, storedBytes, answers, seconds: seconds(startedMs) };
}

/** Sends what is missing, until the gateway says that the object is there. */
async function upload(
  client: ChunkClient,
  dice: Dice,
  plan: { readonly threads: number; readonly largestChunkBytes: number },
): Promise<void> {
  const deadline = Date.now() + uploadDeadlineMs;
  for (;;) {
    if (Date.now() > deadline) throw new Error(`not stored within ${uploadDeadlineMs / 1000} s`);
    const progress = await client.ask();
    if (progress?.state === 'completed') return;
    // Nobody answers, or nothing is there yet.
    const missing = progress?.missing ?? [{ offset: 0, size: client.file.length }];
    const chunks = dice.shuffleSometimes(missing.flatMap((gap) => [...cut(gap, dice, plan.largestChunkBytes)]));
    let hasFailed = chunks.length === 0;
    const send = async () => {
      for (let chunk = chunks.shift(); chunk !== undefined && !hasFailed; chunk = chunks.shift()) {
        const breaksOff = dice.isOneIn(12) ? { cutAfter: dice.between(1, chunk.to - chunk.from) } : {};
        hasFailed = (await client.send(chunk, breaksOff)) === undefined || hasFailed;
      }
    };
    await Promise.all(Array.from({ length: plan.threads }, send));
    if (hasFailed) await sleep(dice.between(20, 200));
  }
}

function* cut(
  gap: { readonly offset: number; readonly size?: number },
  dice: Dice,
  largestBytes: number,
): Generator<ByteRange> {
  const end = gap.offset + (gap.size ?? 0);
  for (let from = gap.offset; from < end; ) {
    const to = Math.min(end, from + dice.between(smallestChunkBytes, largestBytes));
    yield { from, to };
    from = to;
  }
}

/** @returns how often */
async function killAgainAndAgain(
  gateway: TestGateway,
  dice: Dice,
  { atMost, until }: { readonly atMost: number; readonly until: AbortSignal },
): Promise<number> {
  for (let kills = 0; ; kills++) {
    if (kills === atMost) return kills;
    await sleep(dice.spread(20, 4_000), undefined, { signal: until }).catch(() => undefined);
    if (until.aborted) return kills;
    await gateway.kill9();
    await gateway.restart();
  }
}

export async function expectObject({ store, bucket }: Place, key: string, file: Buffer): Promise<void> {
  const stored = sha256(await readStored(store, bucket, key));
  if (stored !== sha256(file)) throw new Error(`${key} is not what was sent`);
  const client = clientOf(store);
  await client.send(new DeleteObjectCommand({ Bucket: bucket, Key: key })).finally(() => client.destroy());
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

export function seconds(sinceMs: number): number {
  return Math.round((Date.now() - sinceMs) / 100) / 10;
}

export function inMiB(bytes: number): string {
  return `${(bytes / MiB).toFixed(1)} MiB`;
}

export function describe(answers: ReadonlyMap<number | 'cut', number>): string {
  return [...answers].map(([status, count]) => `${count} × ${status}`).join(', ');
}
