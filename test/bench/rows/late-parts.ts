import type { Bench } from '../bench.ts';
import { type OpenUpload, RestUploader } from '../clients/rest.ts';
import type { Figure } from '../figure.ts';
import { alternate, median, middleHalf } from '../measure/samples.ts';
import type { Row } from './row.ts';

const mostParts = 10_000;
const partSizeBytes = 1024;
const comparedParts = 200;
const pageSlots = 1000;

/** Whether the ten thousandth part still costs what the first one did. */
export const latePartRows: readonly Row[] = [
  {
    name: 'late-parts',
    what: 'latency of parts 9,801 to 10,000 : of parts 1 to 200, 1 KiB each, turn and turn about',
    deadlineMs: 150_000,
    measure: measureLateParts,
  },
];

async function measureLateParts(bench: Bench): Promise<readonly Figure[]> {
  const sink = await bench.sink();
  const gateway = await bench.process('small-parts-gateway.ts', {
    env: { ...sink.settings, DATABASE_URL: await bench.database(), PARTWAY_PORT: '0', PARTWAY_LOG_LEVEL: 'warn' },
  });
  const client = new RestUploader(gateway.url, 8);
  const create = (key: string) => client.create({ key, partCount: mostParts, partSizeBytes });
  const [full, fresh] = [await create('full'), await create('fresh')];
  await client.putParts(full, 1, mostParts - comparedParts);

  const nextPart = { late: mostParts - comparedParts, early: 0 };
  const samples = await alternate(
    {
      late: () => timed(() => client.putPart(full, ++nextPart.late)),
      early: () => timed(() => client.putPart(fresh, ++nextPart.early)),
    },
    { rounds: comparedParts, budgetMs: 60_000 },
  );
  const completeMs = await timed(() => client.complete(full));
  return [
    {
      row: 'late-parts',
      what: latePartRows[0]?.what ?? '',
      // Of medians: single latencies differ by far more than the two uploads do.
      value: median(samples.late) / median(samples.early),
      unit: 'x',
      wanted: { atMost: 1.2 },
      samples: samples.late.length,
      details: {
        'late ms': median(samples.late),
        'early ms': median(samples.early),
        'late ms, middle half from': middleHalf(samples.late)[0],
        to: middleHalf(samples.late)[1],
        'complete ms': completeMs,
      },
    },
    await measureListing(client, full),
  ];
}

async function measureListing(client: RestUploader, full: OpenUpload): Promise<Figure> {
  const path = (after: number, limit: number) => `/uploads/${full.id}/parts?after=${after}&limit=${limit}`;
  const page = (after: number, limit: number) => () => timed(() => client.get(path(after, limit)));
  const samples = await alternate(
    {
      all: page(0, mostParts),
      first: page(0, pageSlots),
      last: page(mostParts - pageSlots, pageSlots),
    },
    { rounds: 15, budgetMs: 20_000 },
  );
  return {
    row: 'late-parts',
    what: 'listing 10,000 parts in one answer',
    value: median(samples.all),
    unit: 'ms',
    spread: middleHalf(samples.all),
    samples: samples.all.length,
    details: { 'first 1,000 ms': median(samples.first), 'last 1,000 ms': median(samples.last) },
  };
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const began = performance.now();
  await work();
  return performance.now() - began;
}
