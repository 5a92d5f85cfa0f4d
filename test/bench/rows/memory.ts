import type { Bench } from '../bench.ts';
import { RestUploader } from '../clients/rest.ts';
import { startSlowClients } from '../clients/slow-clients.ts';
import type { Figure } from '../figure.ts';
import { type MemoryReport, watchMemory } from '../measure/memory-watch.ts';
import { MiB, type Row } from './row.ts';

const partSizeBytes = 64 * MiB;
const watchedMs = 20_000;
const slowClients = 500;
const slowBytesPerSecond = 64 * 1024;

/** A process's memory with few fast clients and with many slow ones. */
export const memoryRows: readonly Row[] = [
  {
    name: 'memory-4',
    what: 'peak memory: 4 clients as fast as they can, parts of 64 MiB',
    deadlineMs: 90_000,
    measure: measureFast,
  },
  {
    name: 'memory-500',
    what: `peak memory: ${slowClients} clients at ${slowBytesPerSecond / 1024} KiB/s each, parts of 64 MiB`,
    deadlineMs: 90_000,
    measure: measureSlow,
  },
];

async function measureFast(bench: Bench): Promise<readonly Figure[]> {
  const gateway = await bench.gateway((await bench.sink()).settings);
  const client = new RestUploader(gateway.url, 4);
  const upload = await client.create({ key: 'memory', partCount: 10_000, partSizeBytes });
  let sentParts = 0;
  const ends = performance.now() + watchedMs;
  const work = Promise.all(
    Array.from({ length: 4 }, async () => {
      while (performance.now() < ends) await client.putPart(upload, ++sentParts);
    }),
  );
  const report = await watchMemory(gateway.pid, watchedMs, work);
  await work;
  return figuresOf('memory-4', report, { 'MiB sent': (sentParts * partSizeBytes) / MiB });
}

async function measureSlow(bench: Bench): Promise<readonly Figure[]> {
  const gateway = await bench.gateway((await bench.sink()).settings);
  const client = new RestUploader(gateway.url, 1);
  const upload = await client.create({ key: 'memory', partCount: slowClients, partSizeBytes });
  const urls = Array.from(
    { length: slowClients },
    (_, index) => `${gateway.url}/uploads/${upload.id}/parts/${index + 1}`,
  );
  const clients = startSlowClients(urls, { sizeBytes: partSizeBytes, bytesPerSecond: slowBytesPerSecond });
  const report = await watchMemory(gateway.pid, watchedMs, Promise.resolve());
  clients.stop();
  if (clients.lost > 0) throw new Error(`${clients.lost} of ${slowClients} clients were cut off`);
  return figuresOf('memory-500', report, { 'MiB sent': clients.sentBytes / MiB });
}

function figuresOf(row: string, report: MemoryReport, details: Figure['details']): readonly Figure[] {
  return [
    {
      row,
      what: memoryRows.find(({ name }) => name === row)?.what ?? '',
      value: report.peakBytes / MiB,
      unit: 'MiB',
      wanted: { atMost: 300 },
      samples: 1,
      details: {
        'MiB at the start': report.atStartBytes / MiB,
        'MiB at the end': report.atEndBytes / MiB,
        ...details,
      },
    },
    {
      row,
      what: 'memory in the last third of the time : in the third before',
      value: report.growth,
      unit: 'x',
      wanted: { atMost: 1.1 },
      samples: 1,
      details: {},
    },
  ];
}
