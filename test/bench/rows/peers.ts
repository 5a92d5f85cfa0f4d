import { Agent } from 'node:http';
import type { Bench, Measured, Store } from '../bench.ts';
import { RestUploader } from '../clients/rest.ts';
import { send } from '../clients/send.ts';
import { TusUploader } from '../clients/tus-uploader.ts';
import type { Figure } from '../figure.ts';
import { cpuSecondsOf } from '../measure/process.ts';
import { alternate, median, middleHalf, ratios } from '../measure/samples.ts';
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
];

interface Sample {
  readonly cpuSecondsPerGib: number;
  readonly mibPerSecond: number;
}

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
      tus: sampled(tus, store, () => new TusUploader(tus.url).upload({ sizeBytes, chunkBytes: sizeBytes })),
      sequential: sampled(gateway, store, () => uploadParts(gateway, 1)),
      parallel: sampled(gateway, store, () => uploadParts(gateway, 4)),
      direct: sampled(libStorage, store, () => send({ method: 'PUT', url: direct, agent })),
    },
    { rounds: 5, budgetMs: 200_000 },
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

async function uploadParts(gateway: Measured, connections: number): Promise<void> {
  const client = new RestUploader(gateway.url, connections);
  const upload = await client.create({ key: 'parts', partCount: sizeBytes / partSizeBytes, partSizeBytes });
  await client.putParts(upload);
  await client.complete(upload);
  client.close();
}

/** From an empty store to an empty store: the machine need not have room for what all of them have sent. */
function sampled({ pid }: Measured, store: Store, work: () => Promise<unknown>): () => Promise<Sample> {
  return async () => {
    const [cpuBefore, began] = [await cpuSecondsOf(pid), performance.now()];
    await work();
    const seconds = (performance.now() - began) / 1000;
    const cpuSeconds = (await cpuSecondsOf(pid)) - cpuBefore;
    await store.empty();
    return { cpuSecondsPerGib: cpuSeconds / (sizeBytes / GiB), mibPerSecond: sizeBytes / MiB / seconds };
  };
}
