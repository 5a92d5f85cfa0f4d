import { readFile } from 'node:fs/promises';

/** USER_HZ, which proc(5) gives times in; a constant of every Linux that Node runs on. */
const ticksPerSecond = 100;
const KiB = 1024;

/** User and system time that a process has used so far, all its threads (proc_pid_stat(5), fields 14 and 15). */
export async function cpuSecondsOf(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  // The second field is the program's name in brackets, and may have spaces.
  const [user = '0', system = '0'] = stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .slice(11, 13);
  return (Number(user) + Number(system)) / ticksPerSecond;
}

/** Resident memory now, and the most that it has been (proc_pid_status(5)). */
export async function memoryOf(pid: number): Promise<{ residentBytes: number; peakBytes: number }> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  const field = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1]) * KiB;
  return { residentBytes: field('VmRSS'), peakBytes: field('VmHWM') };
}
