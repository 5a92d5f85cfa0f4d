import type { Command } from 'commander';
import type { OpenRecords } from '../open-records.ts';
import { examples } from './examples.ts';
import type { ExitCode } from './exit-codes.ts';
import { reportFailure } from './failure.ts';

interface Options {
  readonly json?: true;
  readonly dryRun?: true;
}

/** `partway gc`: what a gateway does every few seconds with what is left behind, once. */
export function addGc(program: Command): void {
  program
    .command('gc')
    .description('finish or remove what crashes, expiry and retention have left due, as a running gateway does')
    .option('--dry-run', 'only say what is due now (what comes of it may make more due)')
    .option('--json', 'print one JSON document')
    .addHelpText('after', examples(['partway gc --dry-run', 'with the environment that the gateway has']))
    .action(async (options: Options) => {
      try {
        const { openRecords } = await import('../open-records.ts');
        const how = { mayCreate: false, mayMigrate: options.dryRun !== true };
        await using records = await openRecords(process.env, how);
        await (options.dryRun ? tellDue(records, options) : reap(records, options));
      } catch (error) {
        reportFailure(error);
      }
    });
}

async function tellDue({ connection }: OpenRecords, { json }: Options): Promise<void> {
  const { countDue } = await import('../db/due.ts');
  const due = await countDue(connection);
  if (json) console.log(JSON.stringify({ dryRun: true, due }));
  else print({ ...due }, 'nothing is due');
}

async function reap(records: OpenRecords, { json }: Options): Promise<void> {
  const { reapOnce } = await import('../reap-once.ts');
  const { reaped, failures } = await reapOnce(records);
  if (json) console.log(JSON.stringify({ dryRun: false, done: reaped, failures }));
  else print({ ...reaped }, failures.length === 0 ? 'nothing was due' : 'nothing could be done');
  for (const { uploadId, message } of failures) console.error(`${uploadId ?? 'round'}: ${message}`);
  process.exitCode = exitCodeOf(failures.map(({ code }) => code));
}

/** `uploadsToClose: 2` reads `uploads to close: 2`. */
function print(counts: Readonly<Record<string, number>>, otherwise: string): void {
  const some = Object.entries(counts).filter(([, count]) => count > 0);
  for (const [name, count] of some)
    console.log(`${name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`)}: ${count}`);
  if (some.length === 0) console.log(otherwise);
}

/** What an upload itself is refused for, its client is told when it asks: that is no failure of this command. */
function exitCodeOf(codes: readonly (string | undefined)[]): ExitCode {
  if (codes.includes(undefined)) return 1;
  if (codes.includes('store_refused')) return 8;
  const passing = ['store_unavailable', 'store_full', 'records_unavailable', 'overloaded', 'busy'];
  return codes.some((code) => passing.includes(code ?? '')) ? 5 : 0;
}
