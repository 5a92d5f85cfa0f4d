import { mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { packProject, run } from '../../support/pack-project.ts';
import type { Bench } from '../bench.ts';
import type { Figure } from '../figure.ts';
import { alternate, median, middleHalf, ratios } from '../measure/samples.ts';
import type { Row } from './row.ts';

const rounds = 20;

/** What somebody waits before a command begins its work. */
export const startUpRows: readonly Row[] = [
  {
    name: 'start-up',
    what: 'partway --help, as packed : node -e 0, turn and turn about',
    deadlineMs: 60_000,
    measure: measureStartUp,
  },
];

async function measureStartUp(bench: Bench): Promise<readonly Figure[]> {
  const folder = await mkdtemp(join(tmpdir(), 'partway-start-up-'));
  bench.defer(() => rm(folder, { recursive: true, force: true }));
  await run('tar', ['-xzf', await packProject(folder), '-C', folder]);
  await symlink(fileURLToPath(new URL('../../../node_modules', import.meta.url)), join(folder, 'node_modules'));
  const env = { ...process.env, NODE_COMPILE_CACHE: join(folder, 'compile-cache') };
  const timed = async (args: readonly string[]) => {
    const began = performance.now();
    await run(process.execPath, args, { env });
    return performance.now() - began;
  };
  const help = () => timed([join(folder, 'package/dist/cli/bin.cjs'), '--help']);
  // The first one compiles.
  await help();
  const samples = await alternate({ help, nothing: () => timed(['-e', '0']) }, { rounds, budgetMs: 30_000 });
  const perRound = ratios(samples.help, samples.nothing);
  return [
    {
      row: 'start-up',
      what: startUpRows[0]?.what ?? '',
      value: median(perRound),
      unit: 'x',
      wanted: { atMost: 2 },
      spread: middleHalf(perRound),
      samples: perRound.length,
      details: { 'help ms': median(samples.help), 'node ms': median(samples.nothing) },
    },
  ];
}
