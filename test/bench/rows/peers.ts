import { Agent } from 'node:http';
import { startFaultProxy } from '../../support/fault-proxy.ts';
import type { Bench, Measured, Store } from '../bench.ts';
import { RestUploader } from '../clients/rest.ts';
import { send } from '../clients/send.ts';
import { TusUploader } from '../clients/tus-uploader.ts';
import type { Figure } from '../figure.ts';
import { alternate, median, middleHalf, ratios } from '../measure/samples.ts';
import { measureThroughput, type Throughput } from '../measure/throughput.ts';
import { GiB, MiB, type Row } from './row.ts';

const sizeBytes = GiB;
const partSizeBytes = 64 * MiB;

/** What a user would take instead, into the same real store. */
export const peerRows: readonly Row[] = [
  {
    name: 'peers',
    what: '1 GiB into MinIO: parts of 64 MiB beside one tus PATCH, and beside no gateway at all',
    deadlineMs: 300_000,
    measure: measurePeers,
  },
  {
    name: 'peer-calls',
    what: 'calls to the store for 64 MiB in parts of 8 MiB',
    deadlineMs: 120_000,
    measure: countCalls,
  },
];

async function measurePeers(bench: Bench): Promise<readonly Figure[]> {
  const store = await bench.minio();
  if (store === undefined) return [];
  const gateway = await bench.gateway(store.settings);
  const tus = await bench.process('tus.ts', { env: store.settings });
  const libStorage = await bench.process('lib-storage.ts', { env: store.settings });
  const agent = new Agent({ keepAlive: true });
  const direct = `${libStorage.url}/direct?size=${sizeBytes}&part=${partSizeBytes}`;
  const samples = await alternate(
    {
      tus: measured(tus, store, () => new TusUploader(tus.url).upload({ sizeBytes, chunkBytes: sizeBytes })),
      sequential: measured(gateway, store, () => uploadParts(gateway, { sizeBytes, partSizeBytes, connections: 1 })),
      parallel: measured(gateway, store, () => uploadParts(gateway, { sizeBytes, partSizeBytes, connections: 4 })),
      direct: measured(libStorage, store, () => send({ method: 'PUT', url: direct, agent })),
    },
    { rounds: 5, budgetMs: 120_000 },
  );
  const speedOf = (name: keyof typeof samples) => samples[name].map(({ mibPerSecond }) => mibPerSecond);
  const cpuOf = (name: keyof typeof samples) => median(samples[name].map(({ cpuSecondsPerGib }) => cpuSecondsPerGib));
  const figure = (what: string, [ours, theirs]: readonly [keyof typeof samples, keyof typeof samples]): Figure => {
    const speedRatios = ratios(speedOf(ours), speedOf(theirs));
    return {
      row: 'peers',
      what,
      value: median(speedRatios),
      unit: 'x',
      spread: middleHalf(speedRatios),
      samples: speedRatios.length,
      details: {
        'gateway MiB/s': median(speedOf(ours)),
        'peer MiB/s': median(speedOf(theirs)),
        'gateway CPU s/GiB': cpuOf(ours),
        'peer CPU s/GiB': cpuOf(theirs),
      },
    };
  };
  return [
    figure('MiB/s of parts of 64 MiB in sequence : @tus/server, one PATCH of 1 GiB', ['sequential', 'tus']),
    figure('MiB/s of parts of 64 MiB, 4 at a time : lib-storage without a gateway', ['parallel', 'direct']),
  ];
}

async function uploadParts(
  gateway: Measured,
  input: { readonly sizeBytes: number; readonly partSizeBytes: number; readonly connections: number },
): Promise<void> {
  const client = new RestUploader(gateway.url, input.connections);
  const partCount = input.sizeBytes / input.partSizeBytes;
  const upload = await client.create({ key: 'parts', partCount, partSizeBytes: input.partSizeBytes });
  await client.putParts(upload);
  await client.complete(upload);
  client.close();
}

/** From an empty store to an empty store: the machine need not have room for what all of them have sent. */
function measured(contender: Measured, store: Store, work: () => Promise<unknown>): () => Promise<Throughput> {
  return async () => {
    const throughput = await measureThroughput(contender, sizeBytes, work);
    await store.empty();
    return throughput;
  };
}

const countedBytes = 64 * MiB;

/** Another run, which nobody times, since the proxy that counts costs more than what it counts. */
async function countCalls(bench: Bench): Promise<readonly Figure[]> {
  const store = await bench.minio();
  if (store === undefined) return [];
  const proxy = await startFaultProxy({ target: store.endpoint });
  bench.defer(() => proxy.stop());
  const settings = store.settingsAt(proxy.url);
  const gateway = await bench.gateway(settings);
  const tus = await bench.process('tus.ts', { env: settings });
  const count = async (work: Promise<unknown>) => {
    proxy.clear();
    await work;
    return proxy.requests.length;
  };
  const tusWith = (chunkBytes: number) => new TusUploader(tus.url).upload({ sizeBytes: countedBytes, chunkBytes });
  const ours = await count(uploadParts(gateway, { sizeBytes: countedBytes, partSizeBytes: 8 * MiB, connections: 1 }));
  const onePatch = await count(tusWith(countedBytes));
  const smallPatches = await count(tusWith(MiB));
  await store.empty();
  return [
    {
      row: 'peer-calls',
      what: peerRows.find(({ name }) => name === 'peer-calls')?.what ?? '',
      value: ours,
      unit: 'calls',
      samples: 1,
      details: { '@tus/server, one PATCH': onePatch, '@tus/server, PATCHes of 1 MiB': smallPatches },
    },
  ];
}
