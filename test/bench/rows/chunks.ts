import { Agent } from 'node:http';
import { startFaultProxy } from '../../support/fault-proxy.ts';
import type { Bench, Measured, Store } from '../bench.ts';
import { ContentRangeUploader } from '../clients/content-range-uploader.ts';
import { send } from '../clients/send.ts';
import { TusUploader } from '../clients/tus-uploader.ts';
import type { Figure } from '../figure.ts';
import { alternate, median, middleHalf, ratios, warmUp } from '../measure/samples.ts';
import { measureThroughput, type Throughput } from '../measure/throughput.ts';
import { GiB, MiB, type Row } from './row.ts';

/** Chunks of a size that S3 would not take as parts, and bodies that are cut into parts here. */
export const chunkRows: readonly Row[] = [
  {
    name: 'chunks-1',
    what: '64 MiB in chunks of 1 MiB, in sequence, into MinIO, beside @tus/server',
    deadlineMs: 300_000,
    measure: measureSmallChunks,
  },
  {
    name: 'chunks-1-long',
    what: '1 GiB in chunks of 1 MiB, in sequence, into MinIO',
    deadlineMs: 180_000,
    measure: measureManyChunks,
  },
  {
    name: 'chunks-1-calls',
    what: 'calls to the store for 64 MiB in chunks of 1 MiB',
    deadlineMs: 60_000,
    measure: countCalls,
  },
  {
    name: 'chunks-8',
    what: 'CPU of chunks of 8 MiB in sequence : plain pipe',
    deadlineMs: 240_000,
    measure: (bench) =>
      measureBesidePipe(bench, 'chunks-8', { sizeBytes: 512 * MiB, bodyBytes: 8 * MiB, atMost: 1.25 }),
  },
  {
    name: 'body-1024',
    what: 'CPU of one body of 1 GiB : plain pipe',
    deadlineMs: 240_000,
    measure: (bench) => measureBesidePipe(bench, 'body-1024', { sizeBytes: GiB, bodyBytes: GiB, atMost: 1.2 }),
  },
];

function whatOf(row: string): string {
  return chunkRows.find(({ name }) => name === row)?.what ?? '';
}

async function measureSmallChunks(bench: Bench): Promise<readonly Figure[]> {
  const store = await bench.minio();
  if (store === undefined) return [];
  const sizeBytes = 64 * MiB;
  const gateway = await bench.gateway(store.settings);
  const tus = await bench.process('tus.ts', { env: store.settings });
  const contenders = {
    gateway: chunksTo(gateway, store, sizeBytes),
    tus: emptied(tus, store, sizeBytes, () => new TusUploader(tus.url).upload({ sizeBytes, chunkBytes: MiB })),
  };
  await warmUp(contenders, { requestsEach: sizeBytes / MiB });
  const samples = await alternate(contenders, { rounds: 7, budgetMs: 120_000 });
  const speedRatios = ratios(speedsOf(samples.gateway), speedsOf(samples.tus));
  const cpus = samples.gateway.map(({ cpuSecondsPerGib }) => cpuSecondsPerGib);
  const details = {
    'gateway MiB/s': median(speedsOf(samples.gateway)),
    'peer MiB/s': median(speedsOf(samples.tus)),
    'peer CPU s/GiB': median(samples.tus.map(({ cpuSecondsPerGib }) => cpuSecondsPerGib)),
  };
  return [
    {
      row: 'chunks-1',
      what: 'MiB/s of 64 MiB in chunks of 1 MiB : @tus/server',
      value: median(speedRatios),
      unit: 'x',
      wanted: { atLeast: 3.5 },
      spread: middleHalf(speedRatios),
      samples: speedRatios.length,
      details,
    },
    {
      row: 'chunks-1',
      what: 'CPU of 64 MiB in chunks of 1 MiB',
      value: median(cpus),
      unit: 'CPU s/GiB',
      wanted: { atMost: 6 },
      spread: middleHalf(cpus),
      samples: cpus.length,
      details: {},
    },
  ];
}

async function measureManyChunks(bench: Bench): Promise<readonly Figure[]> {
  const store = await bench.minio();
  if (store === undefined) return [];
  const gateway = await bench.gateway(store.settings);
  const samples = await alternate({ gateway: chunksTo(gateway, store, GiB) }, { rounds: 3, budgetMs: 120_000 });
  const cpus = samples.gateway.map(({ cpuSecondsPerGib }) => cpuSecondsPerGib);
  return [
    {
      row: 'chunks-1-long',
      what: whatOf('chunks-1-long'),
      value: median(cpus),
      unit: 'CPU s/GiB',
      wanted: { atMost: 6 },
      spread: middleHalf(cpus),
      samples: cpus.length,
      details: { 'gateway MiB/s': median(speedsOf(samples.gateway)) },
    },
  ];
}

async function countCalls(bench: Bench): Promise<readonly Figure[]> {
  const store = await bench.minio();
  if (store === undefined) return [];
  const proxy = await startFaultProxy({ target: store.endpoint });
  bench.defer(() => proxy.stop());
  const gateway = await bench.gateway(store.settingsAt(proxy.url));
  proxy.clear();
  await new ContentRangeUploader(gateway.url).upload({ sizeBytes: 64 * MiB, chunkBytes: MiB });
  const reads = proxy.requests.filter(({ method }) => method === 'GET' || method === 'HEAD').length;
  await store.empty();
  return [
    {
      row: 'chunks-1-calls',
      what: whatOf('chunks-1-calls'),
      value: proxy.requests.length,
      unit: 'calls',
      wanted: { atMost: 82 },
      samples: 1,
      details: { reads },
    },
  ];
}

async function measureBesidePipe(
  bench: Bench,
  row: string,
  { sizeBytes, bodyBytes, atMost }: { readonly sizeBytes: number; readonly bodyBytes: number; readonly atMost: number },
): Promise<readonly Figure[]> {
  const sink = await bench.sink();
  const gateway = await bench.gateway(sink.settings);
  const pipe = await bench.process('plain-pipe.ts', { args: [sink.url] });
  const client = new ContentRangeUploader(gateway.url);
  const contenders = {
    gateway: () =>
      measureThroughput(gateway, sizeBytes, () =>
        bodyBytes === sizeBytes ? client.put(sizeBytes) : client.upload({ sizeBytes, chunkBytes: bodyBytes }),
      ),
    pipe: bodiesTo(pipe, { sizeBytes, bodyBytes }),
  };
  await warmUp(contenders, { requestsEach: sizeBytes / bodyBytes });
  const samples = await alternate(contenders, { rounds: 9, budgetMs: 60_000 });
  const cpusOf = (name: keyof typeof samples) => samples[name].map(({ cpuSecondsPerGib }) => cpuSecondsPerGib);
  const cpuRatios = ratios(cpusOf('gateway'), cpusOf('pipe'));
  return [
    {
      row,
      what: whatOf(row),
      value: median(cpuRatios),
      unit: 'x',
      wanted: { atMost },
      spread: middleHalf(cpuRatios),
      samples: cpuRatios.length,
      details: {
        'gateway CPU s/GiB': median(cpusOf('gateway')),
        'pipe CPU s/GiB': median(cpusOf('pipe')),
        'gateway MiB/s': median(speedsOf(samples.gateway)),
        'pipe MiB/s': median(speedsOf(samples.pipe)),
      },
    },
  ];
}

function bodiesTo(
  pipe: Measured,
  { sizeBytes, bodyBytes }: { readonly sizeBytes: number; readonly bodyBytes: number },
): () => Promise<Throughput> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  return () =>
    measureThroughput(pipe, sizeBytes, async () => {
      for (let sent = 0; sent < sizeBytes; sent += bodyBytes) {
        await send({ method: 'PUT', url: `${pipe.url}/sink/body`, agent, sizeBytes: bodyBytes });
      }
    });
}

function chunksTo(gateway: Measured, store: Store, sizeBytes: number): () => Promise<Throughput> {
  const client = new ContentRangeUploader(gateway.url);
  return emptied(gateway, store, sizeBytes, () => client.upload({ sizeBytes, chunkBytes: MiB }));
}

function emptied(
  contender: Measured,
  store: Store,
  sizeBytes: number,
  work: () => Promise<unknown>,
): () => Promise<Throughput> {
  return async () => {
    const throughput = await measureThroughput(contender, sizeBytes, work);
    await store.empty();
    return throughput;
  };
}

function speedsOf(samples: readonly Throughput[]): number[] {
  return samples.map(({ mibPerSecond }) => mibPerSecond);
}
