/**
 * Runs one command and sees that it ends: when its own standard input ends (whoever started it is gone,
 * even by SIGKILL), on SIGTERM, SIGINT and SIGHUP, and when its time is over. It is a process of its own
 * because nothing inside a killed test run could clean up after it.
 *
 *   node watchdog.ts LIFETIME_SECONDS FOLDER_TO_REMOVE COMMAND [ARGUMENT...]
 */
import { spawn } from 'node:child_process';
import { rmSync } from 'node:fs';

const graceMs = 10_000;
const [lifetimeSeconds = '0', folder = '', command = '', ...args] = process.argv.slice(2);

// A process group of its own: what the command starts ends with it.
const child = spawn(command, args, { stdio: ['ignore', 'inherit', 'inherit'], detached: true });

let killTimer: NodeJS.Timeout | undefined;

function end(): void {
  if (killTimer !== undefined) return;
  killTimer = setTimeout(killGroup, graceMs);
  child.kill('SIGTERM');
}

function killGroup(): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch {
    // The group is empty: all have ended.
  }
}

child.on('error', (error) => {
  process.stderr.write(`${command}: ${error.message}\n`);
  process.exitCode = 127;
  process.exit();
});
child.on('exit', (code, signal) => {
  killGroup();
  if (folder !== '') rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  process.exit(code ?? (signal === null ? 1 : 128));
});

setTimeout(end, Number(lifetimeSeconds) * 1000).unref();
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, end);
process.stdin.on('end', end).on('error', end).resume();
