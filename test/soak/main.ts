/**
 * Kills the gateway hundreds of times while a client uploads to it, and says how that went; with --push the client is
 * `partway push`, which is killed, too.
 *
 *   npm run soak -- [--push] [--rounds 200] [--seed NUMBER]
 */
import { randomInt } from 'node:crypto';
import { parseArgs } from 'node:util';
import { migrate } from '../../src/db/migrate.ts';
import { startMinio } from '../support/minio.ts';
import { startPostgres } from '../support/postgres-server.ts';
import { createBucket } from '../support/stores.ts';
import { soakPushes } from './push-soak.ts';
import { describe, requireDisk, soak } from './soak.ts';

const { values } = parseArgs({
  options: { push: { type: 'boolean' }, rounds: { type: 'string', default: '200' }, seed: { type: 'string' } },
});
const rounds = Number(values.rounds);
const seed = Number(values.seed ?? randomInt(2 ** 32));
if (!Number.isInteger(rounds) || rounds < 1 || !Number.isInteger(seed)) {
  console.error('usage: npm run soak -- [--push] [--rounds 200] [--seed NUMBER]');
  process.exit(2);
}

async function run(): Promise<void> {
  await requireDisk();
  await using started = new AsyncDisposableStack();
  const postgres = await startPostgres();
  started.defer(() => postgres.stop());
  const store = await startMinio();
  started.defer(() => store.stop());
  await migrate(postgres.url);
  const place = { store, bucket: await createBucket(store), databaseUrl: postgres.url };
  console.log(`seed ${seed}, ${rounds} rounds, MinIO at ${store.endpoint}`);
  if (values.push === true) {
    const { kills, ...report } = await soakPushes(place, { rounds, seed, print: console.log });
    console.log(
      `${kills.push} kills of pushes, ${kills.gateway} of the gateway, ${report.faults} faults on the lines, ` +
        `${report.uploads} files in ${report.runs} runs, ${Math.round(report.storedBytes / 1024 ** 2)} MiB in ` +
        `${report.seconds} s: every object equal, nothing left behind.`,
    );
    return;
  }
  const report = await soak(place, { rounds, seed, print: console.log });
  console.log(
    `${report.kills} kills, ${report.uploads} uploads, ${Math.round(report.storedBytes / 1024 ** 2)} MiB in ` +
      `${report.seconds} s: every object equal, nothing left behind. Answers: ${describe(report.answers)}.`,
  );
}

run().then(
  () => process.exit(0),
  (error: unknown) => {
    console.error(`seed ${seed}:`, error);
    process.exit(1);
  },
);
