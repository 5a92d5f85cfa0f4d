import { execFile } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import { mkdtemp, open, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { packProject, run } from '../../support/pack-project.ts';
import type { Bench, Store } from '../bench.ts';
import type { Figure } from '../figure.ts';
import { alternate, median, middleHalf, ratios } from '../measure/samples.ts';
import { goProgram } from '../servers/go-program.ts';
import { GiB, MiB, type Row } from './row.ts';

const execute = promisify(execFile);
const measureProgram = fileURLToPath(new URL('../measure/run_measured.py', import.meta.url));
const row = 'push';

interface Sample {
  readonly seconds: number;
  readonly cpuSeconds: number;
  readonly peakBytes: number;
}

/** A file of 1 GiB: `partway push`, as packed, beside what people push to S3 with. */
export const pushRows: readonly Row[] = [
  {
    name: row,
    what: '1 GiB by partway push beside mc and rclone',
    deadlineMs: 600_000,
    measure: measurePush,
  },
];

async function measurePush(bench: Bench): Promise<readonly Figure[]> {
  const store = await bench.minio();
  const mc = await goProgram('github.com/minio/mc');
  const rclone = await goProgram('github.com/rclone/rclone');
  if (store === undefined || mc === undefined || rclone === undefined) return [];
  const folder = await mkdtemp(join(tmpdir(), 'partway-bench-push-'));
  bench.defer(() => rm(folder, { recursive: true, force: true }));
  const file = join(folder, 'file');
  await fill(file);
  const program = await unpack(folder);
  const gateway = await bench.gateway(store.settings);
  const env = {
    PATH: process.env.PATH ?? '',
    HOME: folder,
    XDG_STATE_HOME: join(folder, 'state'),
    PARTWAY_URL: gateway.url,
    ...(await others(folder, store)),
  };
  const bucket = store.settings.S3_BUCKET ?? '';
  const measured = async (command: readonly string[]): Promise<Sample> => {
    await store.empty();
    const { stdout } = await execute('python3', [measureProgram, ...command], { env });
    return JSON.parse(stdout) as Sample;
  };
  const push = [process.execPath, program, 'push', '-q'];
  const contenders = {
    direct: () => measured([...push, '--direct', file]),
    relay: () => measured([...push, '--relay', file]),
    pipe: () => measured(['sh', '-c', `cat '${file}' | "$@"`, 'sh', ...push, '-', 'file']),
    mc: () => measured([mc, 'cp', '-q', file, `bench/${bucket}/file`]),
    rclone: () => measured([rclone, 'copyto', file, `bench:${bucket}/file`]),
  };
  const samples = await alternate(contenders, { rounds: 7, budgetMs: 300_000 });
  const of = (name: keyof typeof contenders, field: keyof Sample) => samples[name].map((sample) => sample[field]);
  const better = median(of('mc', 'seconds')) < median(of('rclone', 'seconds')) ? 'mc' : 'rclone';
  const large = await measured([...push, '--direct', '--parallel', '16', '--part-size', '16M', file]);
  const largeRelayed = await measured([...push, '--relay', '--parallel', '16', '--part-size', '16M', file]);
  const compared = (
    what: string,
    values: readonly number[],
    wanted: Figure['wanted'] | undefined,
    details: Readonly<Record<string, number>>,
  ): Figure => ({
    row,
    what,
    value: median(values),
    unit: 'x',
    ...(wanted && { wanted }),
    spread: middleHalf(values),
    samples: values.length,
    details,
  });
  const seconds = Object.fromEntries(
    Object.keys(contenders).map((name) => [`${name} s`, median(of(name as keyof typeof contenders, 'seconds'))]),
  );
  const cpu = Object.fromEntries(
    Object.keys(contenders).map((name) => [`${name} CPU s`, median(of(name as keyof typeof contenders, 'cpuSeconds'))]),
  );
  return [
    compared(
      `wall time of --direct : ${better}`,
      ratios(of('direct', 'seconds'), of(better, 'seconds')),
      { atMost: 1.053 },
      seconds,
    ),
    compared(
      'CPU of --direct : rclone',
      ratios(of('direct', 'cpuSeconds'), of('rclone', 'cpuSeconds')),
      { atMost: 1 },
      cpu,
    ),
    compared(`wall time of --relay : ${better}`, ratios(of('relay', 'seconds'), of(better, 'seconds')), undefined, {}),
    compared(
      'speed of a pipe : of the file, both relayed',
      ratios(of('relay', 'seconds'), of('pipe', 'seconds')),
      { atLeast: 0.8 },
      {},
    ),
    {
      row,
      what: 'peak memory, 16 parts of 16 MiB in flight',
      value: Math.max(large.peakBytes, largeRelayed.peakBytes) / MiB,
      unit: 'MiB',
      wanted: { atMost: 200 },
      samples: 2,
      details: { 'direct MiB': large.peakBytes / MiB, 'relay MiB': largeRelayed.peakBytes / MiB },
    },
  ];
}

async function fill(path: string): Promise<void> {
  const piece = randomFillSync(Buffer.alloc(64 * MiB));
  await using file = await open(path, 'w');
  for (let offset = 0; offset < GiB; offset += piece.length) {
    piece.writeUInt32LE(offset / piece.length);
    await file.write(piece);
  }
}

async function unpack(folder: string): Promise<string> {
  await run('tar', ['-xzf', await packProject(folder), '-C', folder]);
  await symlink(fileURLToPath(new URL('../../../node_modules', import.meta.url)), join(folder, 'node_modules'));
  return join(folder, 'package/dist/cli/bin.cjs');
}

/** How mc and rclone are told of the store. */
async function others(folder: string, store: Store): Promise<Record<string, string>> {
  const { S3_ENDPOINT = '', S3_ACCESS_KEY_ID = '', S3_SECRET_ACCESS_KEY = '' } = store.settings;
  const endpoint = new URL(S3_ENDPOINT);
  endpoint.username = S3_ACCESS_KEY_ID;
  endpoint.password = S3_SECRET_ACCESS_KEY;
  const config = join(folder, 'rclone.conf');
  await writeFile(
    config,
    `[bench]\ntype = s3\nprovider = Minio\nendpoint = ${S3_ENDPOINT}\naccess_key_id = ${S3_ACCESS_KEY_ID}\nsecret_access_key = ${S3_SECRET_ACCESS_KEY}\n`,
  );
  return { MC_HOST_bench: endpoint.href, MC_CONFIG_DIR: join(folder, 'mc'), RCLONE_CONFIG: config };
}
