import type { Bench, Sink } from '../bench.ts';
import { type OpenUpload, RestUploader } from '../clients/rest.ts';
import type { Figure } from '../figure.ts';
import { startRoundTripMeter } from '../measure/round-trips.ts';
import { median } from '../measure/samples.ts';
import { MiB, type Row } from './row.ts';

const partCount = 10;
const looks = 20;
/** The reaper's own round trips, every few seconds, fall into few of so many uploads. */
const uploads = 9;

/** How often a request makes the gateway ask somebody else. */
export const callRows: readonly Row[] = [
  {
    name: 'calls',
    what: 'calls to the store and round trips to Postgres',
    deadlineMs: 90_000,
    measure: measureCalls,
  },
];

async function measureCalls(bench: Bench): Promise<readonly Figure[]> {
  const sink = await bench.sink();
  const meter = await startRoundTripMeter(await bench.database());
  bench.defer(() => meter.stop());
  const gateway = await bench.gateway({ ...sink.settings, DATABASE_URL: meter.url });
  const client = new RestUploader(gateway.url, 4);
  const count = (work: () => Promise<unknown>) => counted(sink, meter.count, work);

  let upload: OpenUpload | undefined;
  const whole: Counted[] = [];
  const parts: Counted[] = [];
  for (let i = 0; i < uploads; i++) {
    whole.push(
      await count(async () => {
        const created = await client.create({ key: `calls-${i}`, partCount, partSizeBytes: 5 * MiB });
        parts.push(await count(() => client.putParts(created)));
        await client.complete(created);
        upload = created;
      }),
    );
  }
  const path = `/uploads/${upload?.id}`;
  const reads: Counted[] = [];
  for (let i = 0; i < looks; i++) {
    for (const read of [path, '/uploads', `${path}/parts`]) reads.push(await count(() => client.get(read)));
  }

  const [perUpload, perPart] = [medianOf(whole), medianOf(parts)];
  return [
    {
      row: 'calls',
      what: 'calls to the store for one upload, beyond its parts',
      value: perUpload.calls - partCount,
      unit: 'calls',
      wanted: { atMost: 2 },
      samples: whole.length,
      details: { parts: partCount, calls: perUpload.calls, 'round trips': perUpload.roundTrips },
    },
    {
      row: 'calls',
      what: 'round trips to Postgres for one part',
      value: perPart.roundTrips / partCount,
      unit: 'round trips',
      wanted: { atMost: 2 },
      samples: parts.length,
      details: { parts: partCount, 'round trips': perPart.roundTrips },
    },
    {
      row: 'calls',
      what: 'calls to the store for look, list and list parts',
      value: reads.reduce((sum, { calls }) => sum + calls, 0),
      unit: 'calls',
      wanted: { atMost: 0 },
      samples: reads.length,
      details: { 'round trips of one': medianOf(reads).roundTrips },
    },
  ];
}

interface Counted {
  readonly calls: number;
  readonly roundTrips: number;
}

async function counted(sink: Sink, roundTrips: () => number, work: () => Promise<unknown>): Promise<Counted> {
  const before = { calls: await allCalls(sink), roundTrips: roundTrips() };
  await work();
  return { calls: (await allCalls(sink)) - before.calls, roundTrips: roundTrips() - before.roundTrips };
}

async function allCalls(sink: Sink): Promise<number> {
  return Object.values(await sink.calls()).reduce((sum, count) => sum + count, 0);
}

function medianOf(counts: readonly Counted[]): Counted {
  return {
    calls: median(counts.map(({ calls }) => calls)),
    roundTrips: median(counts.map(({ roundTrips }) => roundTrips)),
  };
}
