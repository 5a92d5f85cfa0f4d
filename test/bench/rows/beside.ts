import { Agent } from 'node:http';
import { fileURLToPath } from 'node:url';
import { startServer } from '../../support/start-server.ts';
import type { Bench } from '../bench.ts';
import { ContentRangeUploader } from '../clients/content-range-uploader.ts';
import { send } from '../clients/send.ts';
import type { Figure } from '../figure.ts';
import { memoryOf } from '../measure/process.ts';
import { alternate, median, middleHalf } from '../measure/samples.ts';
import { measureThroughput } from '../measure/throughput.ts';
import { MiB, type Row } from './row.ts';

const idleClients = 60;
const slowClients = 1000;
const slowBytesPerSecond = 8 * 1024;
const budgetMiB = 256;
const comparedChunks = 200;
const lateChunk = 10_000;
const tinyBytes = 1024;

/** What many clients that send little cost the others, and what a long history costs a client. */
export const besideRows: readonly Row[] = [
  {
    name: 'beside-slow',
    what: `${idleClients} idle and ${slowClients} slow clients beside one fast`,
    deadlineMs: 180_000,
    measure: measureBeside,
  },
  {
    name: 'late-chunks',
    what: `latency of chunks from ${lateChunk} on : of the first, 1 KiB each, turn and turn about`,
    deadlineMs: 180_000,
    measure: measureLateChunks,
  },
];

async function measureBeside(bench: Bench): Promise<readonly Figure[]> {
  const gateway = await bench.gateway({
    ...(await bench.sink()).settings,
    PARTWAY_MEMORY_BUDGET: `${budgetMiB}MiB`,
    PARTWAY_BODY_IDLE_TIMEOUT: '10m',
  });
  const fast = new ContentRangeUploader(gateway.url);
  const sizeBytes = 128 * MiB;
  const speeds = async () => {
    const samples = await alternate(
      { fast: () => measureThroughput(gateway, sizeBytes, () => fast.upload({ sizeBytes, chunkBytes: 8 * MiB })) },
      { rounds: 5, budgetMs: 30_000 },
    );
    return samples.fast.map(({ mibPerSecond }) => mibPerSecond);
  };
  await speeds();
  const alone = await speeds();
  const idle = await startSlowClients(`${gateway.url}/objects/idle`, idleClients, 0);
  const slow = await startSlowClients(`${gateway.url}/objects/slow`, slowClients, slowBytesPerSecond);
  // Until all have arrived and hold what they may.
  await new Promise((resolve) => setTimeout(resolve, 15_000));
  const beside = await speeds();
  const lost = idle.lost() + slow.lost();
  for (const clients of [idle, slow]) await clients.stop();
  if (lost > 0) throw new Error(`${lost} clients were cut off`);
  const { peakBytes } = await memoryOf(gateway.pid);
  return [
    {
      row: 'beside-slow',
      what: `MiB/s of one fast client beside ${idleClients} idle and ${slowClients} slow ones : alone`,
      value: median(beside) / median(alone),
      unit: 'x',
      wanted: { atLeast: 0.8 },
      samples: beside.length,
      details: { 'beside MiB/s': median(beside), 'alone MiB/s': median(alone), from: middleHalf(beside)[0] },
    },
    {
      row: 'beside-slow',
      what: `peak memory, with a budget of ${budgetMiB} MiB`,
      value: peakBytes / MiB,
      unit: 'MiB',
      wanted: { atMost: budgetMiB + 200 },
      samples: 1,
      details: {},
    },
  ];
}

/** In a process of their own: what they cost themselves is not the fast client's. */
async function startSlowClients(baseUrl: string, count: number, bytesPerSecond: number) {
  const program = fileURLToPath(new URL('../clients/slow-clients-main.ts', import.meta.url));
  const server = startServer({
    command: process.execPath,
    args: [program, baseUrl, String(count), String(bytesPerSecond)],
  });
  await server.waitForLine(/^started$/m, { deadlineMs: 30_000 });
  return {
    lost: () => Math.max(0, ...[...server.log().matchAll(/^lost (\d+)$/gm)].map(([, lost]) => Number(lost))),
    stop: () => server.stop(),
  };
}

async function measureLateChunks(bench: Bench): Promise<readonly Figure[]> {
  const gateway = await bench.gateway((await bench.sink()).settings);
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const total = 1024 * MiB;
  const put = (name: string, chunk: number) =>
    send({
      method: 'POST',
      url: `${gateway.url}/objects/${name}`,
      agent,
      headers: { 'Content-Range': `bytes ${chunk * tinyBytes}-${(chunk + 1) * tinyBytes - 1}/${total}` },
      sizeBytes: tinyBytes,
    });
  const timed = async (work: () => Promise<unknown>) => {
    const began = performance.now();
    await work();
    return performance.now() - began;
  };
  for (let chunk = 0; chunk < lateChunk; chunk++) await put('long', chunk);
  const next = { late: lateChunk, early: 0 };
  const samples = await alternate(
    { late: () => timed(() => put('long', next.late++)), early: () => timed(() => put('fresh', next.early++)) },
    { rounds: comparedChunks, budgetMs: 60_000 },
  );
  return [
    {
      row: 'late-chunks',
      what: besideRows.find(({ name }) => name === 'late-chunks')?.what ?? '',
      value: median(samples.late) / median(samples.early),
      unit: 'x',
      wanted: { atMost: 1.2 },
      samples: samples.late.length,
      details: { 'late ms': median(samples.late), 'early ms': median(samples.early) },
    },
  ];
}
