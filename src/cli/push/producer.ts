import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { SourceError } from '../../sdk/node/index.ts';
import { piecesOf } from './pieces.ts';

/** A command whose output is pushed. */
export interface Producer {
  /** Ends only when the command has ended well. @throws SourceError `producer_failed` */
  readonly pieces: AsyncIterable<Uint8Array>;
  /** What the command ended with, as a shell tells it; `undefined` while it runs, or where it never began. */
  readonly exitCode: number | undefined;
  stop(): void;
}

export function startProducer(command: string, args: readonly string[]): Producer {
  const child = spawn(command, args, { stdio: ['inherit', 'pipe', 'inherit'] });
  let exitCode: number | undefined;
  const ended = new Promise<string | undefined>((resolve) => {
    child.once('error', (error: NodeJS.ErrnoException) => {
      exitCode = error.code === 'ENOENT' ? 127 : 126;
      resolve(error.code === 'ENOENT' ? `there is no command ${command}` : `${command}: ${error.message}`);
    });
    child.once('close', (code, signal) => {
      exitCode ??= code ?? 128 + (signal === null ? 0 : constants.signals[signal]);
      resolve(code === 0 ? undefined : `${command} ${code === null ? `was ended by ${signal}` : `ended with ${code}`}`);
    });
  });
  return {
    get exitCode() {
      return exitCode;
    },
    pieces: (async function* () {
      yield* piecesOf(child.stdout);
      const failure = await ended;
      if (failure === undefined) return;
      throw new SourceError(`${failure}. Nothing was completed.`, { code: 'producer_failed' });
    })(),
    stop: () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill('SIGTERM');
      // One that ignores it is not waited for.
      child.stdout.destroy();
      child.unref();
    },
  };
}
