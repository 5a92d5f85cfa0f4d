import { Agent } from 'node:http';
import { startFaultProxy } from '../../support/fault-proxy.ts';
import type { Bench, Measured, Store } from '../bench.ts';
import { open, send, someBytes } from '../clients/send.ts';
import { TusUploader } from '../clients/tus-uploader.ts';
import type { Figure } from '../figure.ts';
import { alternate, median, middleHalf, ratios, warmUp } from '../measure/samples.ts';
import { measureThroughput } from '../measure/throughput.ts';
import { GiB, MiB, type Row } from './row.ts';

interface Case {
  readonly name: string;
  readonly what: string;
  readonly sizeBytes: number;
  readonly chunkBytes: number;
  /** So many uploads at once. */
  readonly uploads: number;
  readonly speed?: number;
  readonly cpu?: number;
}

const cases: readonly Case[] = [
  { name: 'tus-body', what: 'one PATCH of 1 GiB', sizeBytes: GiB, chunkBytes: GiB, uploads: 1, speed: 2, cpu: 0.25 },
  { name: 'tus-8', what: '512 MiB in PATCHes of 8 MiB', sizeBytes: 512 * MiB, chunkBytes: 8 * MiB, uploads: 1 },
  {
    name: 'tus-1',
    what: '64 MiB in PATCHes of 1 MiB',
    sizeBytes: 64 * MiB,
    chunkBytes: MiB,
    uploads: 1,
    speed: 3.5,
    cpu: 0.1,
  },
  { name: 'tus-64', what: '64 uploads of 8 MiB at once', sizeBytes: 8 * MiB, chunkBytes: 8 * MiB, uploads: 64 },
];

/** tus beside @tus/server with its S3 store, into one MinIO. */
export const tusRows: readonly Row[] = [
  ...cases.map((each) => ({
    name: each.name,
    what: `${each.what}, by tus, into MinIO, beside @tus/server`,
    deadlineMs: 360_000,
    measure: (bench: Bench) => measureCase(bench, each),
  })),
  {
    name: 'tus-1-calls',
    what: 'calls to the store for 64 MiB in PATCHes of 1 MiB',
    deadlineMs: 120_000,
    measure: countCalls,
  },
  {
    name: 'tus-head',
    what: 'HEAD behind a PATCH that hangs, while 200 of them do',
    deadlineMs: 120_000,
    measure: (bench) =>
      measureHead(bench, { row: 'tus-head', what: 'a PATCH that hangs, while 200 of them do', goesOn: false }),
  },
  {
    name: 'tus-head-running',
    what: 'HEAD of an upload whose PATCH runs, while 200 of them do',
    deadlineMs: 120_000,
    measure: (bench) =>
      measureHead(bench, { row: 'tus-head-running', what: 'a PATCH that runs, while 200 of them do', goesOn: true }),
  },
];

async function measureCase(bench: Bench, { name, what, ...given }: Case): Promise<readonly Figure[]> {
  const store = await bench.minio();
  if (store === undefined) return [];
  const gateway = await bench.gateway(store.settings);
  const peer = await bench.process('tus.ts', { env: store.settings });
  const contenders = {
    gateway: () => uploadTo(gateway, store, given),
    peer: () => uploadTo(peer, store, given),
  };
  await warmUp(contenders, { requestsEach: (given.uploads * given.sizeBytes) / given.chunkBytes });
  const samples = await alternate(contenders, { rounds: 5, budgetMs: 150_000 });
  const speeds = { ours: samples.gateway.map(speedOf), theirs: samples.peer.map(speedOf) };
  const cpus = { ours: samples.gateway.map(cpuOf), theirs: samples.peer.map(cpuOf) };
  const figure = (unit: string, of: typeof speeds, wanted: Figure['wanted'] | undefined): Figure => {
    const values = ratios(of.ours, of.theirs);
    return {
      row: name,
      what: `${unit} of ${what} : @tus/server`,
      value: median(values),
      unit: 'x',
      ...(wanted && { wanted }),
      spread: middleHalf(values),
      samples: values.length,
      details: { [`gateway ${unit}`]: median(of.ours), [`peer ${unit}`]: median(of.theirs) },
    };
  };
  return [
    figure('MiB/s', speeds, given.speed === undefined ? undefined : { atLeast: given.speed }),
    figure('CPU s/GiB', cpus, given.cpu === undefined ? undefined : { atMost: given.cpu }),
  ];
}

async function countCalls(bench: Bench): Promise<readonly Figure[]> {
  const store = await bench.minio();
  if (store === undefined) return [];
  const proxy = await startFaultProxy({ target: store.endpoint });
  bench.defer(() => proxy.stop());
  const settings = store.settingsAt(proxy.url);
  const callsOf = async (server: Measured) => {
    proxy.clear();
    await uploadTo(server, store, { sizeBytes: 64 * MiB, chunkBytes: MiB, uploads: 1 });
    const reads = proxy.requests.filter(({ method }) => method === 'GET' || method === 'HEAD').length;
    return { calls: proxy.requests.length, reads };
  };
  const ours = await callsOf(await bench.gateway(settings));
  const theirs = await callsOf(await bench.process('tus.ts', { env: settings }));
  return [
    {
      row: 'tus-1-calls',
      what: 'calls to the store for 64 MiB in PATCHes of 1 MiB',
      value: ours.calls,
      unit: 'calls',
      samples: 1,
      details: { reads: ours.reads, 'peer calls': theirs.calls, 'peer reads': theirs.reads },
    },
  ];
}

const speedOf = ({ mibPerSecond }: { readonly mibPerSecond: number }) => mibPerSecond;
const cpuOf = ({ cpuSecondsPerGib }: { readonly cpuSecondsPerGib: number }) => cpuSecondsPerGib;

async function uploadTo(
  server: Measured,
  store: Store,
  { sizeBytes, chunkBytes, uploads }: Pick<Case, 'sizeBytes' | 'chunkBytes' | 'uploads'>,
) {
  const throughput = await measureThroughput(server, uploads * sizeBytes, () =>
    Promise.all(
      Array.from({ length: uploads }, async () => {
        const client = new TusUploader(server.url);
        await client.upload({ sizeBytes, chunkBytes });
        client.close();
      }),
    ),
  );
  await store.empty();
  return throughput;
}

const hangingPatches = 200;
const version = { 'Tus-Resumable': '1.0.0' };

const runningBytes = 64 * MiB;
const pieceBytes = 16 * 1024;
const pieceEveryMs = 100;

/** Each PATCH has sent half a MiB, and then nothing more, or 160 KiB a second. */
async function measureHead(
  bench: Bench,
  { row, what, goesOn }: { readonly row: string; readonly what: string; readonly goesOn: boolean },
): Promise<readonly Figure[]> {
  const store = await bench.minio();
  if (store === undefined) return [];
  const gateway = await bench.gateway({ ...store.settings, PARTWAY_BODY_IDLE_TIMEOUT: '60s' });
  const agent = new Agent({ keepAlive: true });
  const urls: string[] = [];
  for (let index = 0; index < hangingPatches; index++) {
    const created = await send({
      method: 'POST',
      url: `${gateway.url}/files`,
      agent,
      headers: { ...version, 'Upload-Length': runningBytes },
    });
    const url = new URL(created.headers.location ?? '', gateway.url).href;
    const patch = open({
      method: 'PATCH',
      url,
      agent,
      headers: { ...version, 'Upload-Offset': 0, 'Content-Type': 'application/offset+octet-stream' },
      sizeBytes: runningBytes,
    });
    patch.on('error', () => undefined);
    bench.defer(() => void patch.destroy());
    await new Promise((resolve) => patch.write(someBytes(MiB / 2), resolve));
    if (goesOn) {
      const pieces = setInterval(() => patch.write(someBytes(pieceBytes)), pieceEveryMs);
      bench.defer(() => clearInterval(pieces));
    }
    urls.push(url);
  }
  const latencies: number[] = [];
  for (const url of urls) {
    const began = performance.now();
    await send({ method: 'HEAD', url, agent, headers: version });
    latencies.push(performance.now() - began);
  }
  agent.destroy();
  await store.empty();
  return [
    {
      row,
      what: `HEAD behind ${what}`,
      value: median(latencies),
      unit: 'ms',
      wanted: { atMost: 200 },
      spread: middleHalf(latencies),
      samples: latencies.length,
      details: { 'slowest ms': Math.max(...latencies) },
    },
  ];
}
