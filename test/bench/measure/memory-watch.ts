import { memoryOf } from './process.ts';
import { median } from './samples.ts';

const everyMs = 250;

export interface MemoryReport {
  /** The most since the process began. */
  readonly peakBytes: number;
  /** Resident in the last third of the time : in the third before it. Near 1: flat. */
  readonly growth: number;
  readonly atStartBytes: number;
  readonly atEndBytes: number;
}

/** Watches a process's memory for so long, or until `until` resolves if that is later. */
export async function watchMemory(pid: number, forMs: number, until: Promise<unknown>): Promise<MemoryReport> {
  const resident: number[] = [];
  let workIsDone = false;
  void until.then(() => {
    workIsDone = true;
  });
  const began = performance.now();
  while (performance.now() - began < forMs || !workIsDone) {
    resident.push((await memoryOf(pid)).residentBytes);
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
  const third = Math.floor(resident.length / 3);
  const { peakBytes } = await memoryOf(pid);
  return {
    peakBytes,
    growth: median(resident.slice(-third)) / median(resident.slice(-2 * third, -third)),
    atStartBytes: resident[0] ?? 0,
    atEndBytes: resident.at(-1) ?? 0,
  };
}
