import { cpuSecondsOf } from './process.ts';

const MiB = 1024 ** 2;
const GiB = 1024 ** 3;

export interface Throughput {
  readonly cpuSecondsPerGib: number;
  readonly mibPerSecond: number;
}

/** What it costs a process to take so many bytes. */
export async function measureThroughput(
  { pid }: { readonly pid: number },
  sizeBytes: number,
  work: () => Promise<unknown>,
): Promise<Throughput> {
  const [cpuBefore, began] = [await cpuSecondsOf(pid), performance.now()];
  await work();
  const seconds = (performance.now() - began) / 1000;
  const cpuSeconds = (await cpuSecondsOf(pid)) - cpuBefore;
  return { cpuSecondsPerGib: cpuSeconds / (sizeBytes / GiB), mibPerSecond: sizeBytes / MiB / seconds };
}
