/**
 * Measures the gateway beside its peers, side by side in one run, and prints a table; with --json one JSON object a
 * line instead.
 *
 *   npm run bench -- [--json] [--only ROW]...
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Bench } from './bench.ts';
import { type Figure, renderJson, renderTable } from './figure.ts';
import { rows } from './rows/index.ts';
import type { Row } from './rows/row.ts';

const { values } = parseArgs({
  options: { json: { type: 'boolean', default: false }, only: { type: 'string', multiple: true, default: [] } },
});

function chosen(): readonly Row[] {
  const unknown = values.only.filter((name) => !rows.some((row) => row.name === name));
  if (unknown.length === 0) return rows.filter(({ name }) => values.only.length === 0 || values.only.includes(name));
  console.error(`No such row: ${unknown.join(', ')}. Rows: ${rows.map(({ name }) => name).join(', ')}`);
  process.exit(2);
}

/** A row's servers end with it, so that no row is measured beside another's. */
async function measure(row: Row): Promise<readonly Figure[]> {
  await using bench = new Bench();
  const tooLate = new AbortController();
  const deadline = sleep(row.deadlineMs, undefined, { signal: tooLate.signal }).then((): never => {
    throw new Error(`not done within ${row.deadlineMs / 1000} s`);
  });
  deadline.catch(() => undefined);
  try {
    return await Promise.race([row.measure(bench), deadline]);
  } finally {
    tooLate.abort();
  }
}

if (process.platform !== 'linux') {
  console.error('The bench reads the figures of processes from /proc: it runs on Linux.');
  process.exit(2);
}

const figures: Figure[] = [];
let failures = 0;
for (const row of chosen()) {
  console.error(`${row.name}: ${row.what}`);
  try {
    const measured = await measure(row);
    if (measured.length === 0) console.error(`${row.name}: not measured: there is no S3 store on this machine`);
    if (values.json) for (const figure of measured) console.log(renderJson(figure));
    figures.push(...measured);
  } catch (error) {
    failures += 1;
    console.error(`${row.name}: not measured:`, error);
  }
}
if (!values.json) console.log(renderTable(figures));
process.exit(failures === 0 ? 0 : 1);
