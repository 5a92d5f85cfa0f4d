import { Agent } from 'node:http';
import type { Bench, Measured } from '../bench.ts';
import { RestUploader } from '../clients/rest.ts';
import { send } from '../clients/send.ts';
import type { Figure } from '../figure.ts';
import { alternate, median, middleHalf, ratios } from '../measure/samples.ts';
import { measureThroughput, type Throughput } from '../measure/throughput.ts';
import { MiB, type Row } from './row.ts';

const connections = 4;
const bytesPerRun = 512 * MiB;
/** The value does not matter: these uploads are not completed. */
const anyCrc32 = 'crc32=:AAAAAA==:';

interface Relay {
  readonly name: string;
  readonly partSizeBytes: number;
  readonly digest?: string;
  readonly wanted?: Figure['wanted'];
}

const relays: readonly Relay[] = [
  { name: 'relay-64', partSizeBytes: 64 * MiB, wanted: { atMost: 1.15 } },
  { name: 'relay-64-crc32', partSizeBytes: 64 * MiB, digest: anyCrc32, wanted: { atMost: 1.35 } },
  { name: 'relay-8', partSizeBytes: 8 * MiB },
  { name: 'relay-8-crc32', partSizeBytes: 8 * MiB, digest: anyCrc32 },
];

/** What the gateway costs beside a pipe that does nothing, to the same sink. */
export const relayRows: readonly Row[] = relays.map((relay) => ({
  name: relay.name,
  what: `CPU of parts of ${relay.partSizeBytes / MiB} MiB${relay.digest ? ' with CRC-32' : ''}, 4 at a time : plain pipe`,
  deadlineMs: 120_000,
  measure: (bench) => measureRelay(bench, relay),
}));

async function measureRelay(bench: Bench, relay: Relay): Promise<readonly Figure[]> {
  const sink = await bench.sink();
  const gateway = await bench.gateway(sink.settings);
  const pipe = await bench.process('plain-pipe.ts', { args: [sink.url] });
  const contenders = { gateway: partsTo(gateway, relay), pipe: putsTo(pipe, relay) };
  for (const warmUp of Object.values(contenders)) await warmUp();
  const samples = await alternate(contenders, { rounds: 9, budgetMs: 45_000 });
  const cpuOf = (name: keyof typeof contenders) => samples[name].map(({ cpuSecondsPerGib }) => cpuSecondsPerGib);
  const speedOf = (name: keyof typeof contenders) => median(samples[name].map(({ mibPerSecond }) => mibPerSecond));
  const cpuRatios = ratios(cpuOf('gateway'), cpuOf('pipe'));
  return [
    {
      row: relay.name,
      what: relayRows.find(({ name }) => name === relay.name)?.what ?? '',
      value: median(cpuRatios),
      unit: 'x',
      ...(relay.wanted && { wanted: relay.wanted }),
      spread: middleHalf(cpuRatios),
      samples: cpuRatios.length,
      details: {
        'gateway CPU s/GiB': median(cpuOf('gateway')),
        'pipe CPU s/GiB': median(cpuOf('pipe')),
        'gateway MiB/s': speedOf('gateway'),
        'pipe MiB/s': speedOf('pipe'),
      },
    },
  ];
}

function partsTo(gateway: Measured, { partSizeBytes, digest }: Relay): () => Promise<Throughput> {
  const client = new RestUploader(gateway.url, connections);
  return async () => {
    const partCount = bytesPerRun / partSizeBytes;
    const upload = await client.create({ key: 'relay', partCount, partSizeBytes, ...(digest && { digest }) });
    const sample = await measureThroughput(gateway, bytesPerRun, () => client.putParts(upload));
    await client.abort(upload);
    return sample;
  };
}

function putsTo(pipe: Measured, { partSizeBytes }: Relay): () => Promise<Throughput> {
  const agent = new Agent({ keepAlive: true, maxSockets: connections });
  const put = (number: number) =>
    send({ method: 'PUT', url: `${pipe.url}/sink/relay-${number}`, agent, sizeBytes: partSizeBytes });
  return () =>
    measureThroughput(pipe, bytesPerRun, () =>
      Promise.all(Array.from({ length: bytesPerRun / partSizeBytes }, (_, number) => put(number))),
    );
}
