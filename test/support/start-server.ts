import { type ChildProcess, spawn } from 'node:child_process';
import { type AddressInfo, createServer, type Server, Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { ProcessOutput } from './process-output.ts';

const watchdog = fileURLToPath(new URL('watchdog.ts', import.meta.url));

/** This machine has no such server and no way to make one: the tests that need it are left out, loudly. */
export class NotAvailable extends Error {
  override readonly name = 'NotAvailable';
}

/** A server ended by itself. */
export class ServerEnded extends Error {
  override readonly name = 'ServerEnded';
  readonly exitCode: number;
  readonly log: string;

  constructor(command: string, exitCode: number, log: string) {
    super(`${command} ended with code ${exitCode}:\n${log}`);
    this.exitCode = exitCode;
    this.log = log;
  }
}

export interface StartedServer {
  /** The process's last output, both streams. */
  log(): string;
  /** Resolves with the match once the output has it. */
  waitForLine(pattern: RegExp, input: { readonly deadlineMs: number }): Promise<RegExpMatchArray>;
  /** Rejects with ServerEnded. */
  readonly ended: Promise<never>;
  /** Ends the server and all that it started; resolves once it is gone. */
  stop(): Promise<void>;
}

/**
 * Starts a server that cannot outlive this process, however this process ends.
 * @param input.folder its data, removed when it has ended
 */
export function startServer(input: {
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
  readonly folder?: string;
  readonly lifetimeSeconds?: number;
}): StartedServer {
  const { command, args, env = process.env, folder = '', lifetimeSeconds = 3 * 3600 } = input;
  const child = spawn(process.execPath, [watchdog, String(lifetimeSeconds), folder, command, ...args], {
    env,
    stdio: ['pipe', 'pipe', 'pipe'],
    // Out of the reach of a SIGKILL to our whole process group; the end of its standard input tells it.
    detached: true,
  });
  const output = new ProcessOutput([child.stdout, child.stderr]);
  const exit = new Promise<number>((resolve) => child.once('close', (code) => resolve(code ?? 1)));
  const ended = exit.then((code): never => {
    throw new ServerEnded(command, code, output.text);
  });
  ended.catch(() => undefined);
  // A forgotten server must not keep a finished run from ending.
  hold(child, 'unref');
  return {
    log: () => output.text,
    ended,
    waitForLine: (pattern, { deadlineMs }) => output.waitFor(pattern, { deadlineMs, ended }),
    async stop() {
      hold(child, 'ref');
      child.stdin.end();
      await exit;
    },
  };
}

/** Whether this process stays for its sake. */
function hold(child: ChildProcess, how: 'ref' | 'unref'): void {
  child[how]();
  for (const stream of child.stdio) {
    if (stream instanceof Socket) stream[how]();
  }
}

/** Resolves when the URL answers with the wanted status. */
export async function waitForHttp(
  url: string,
  server: StartedServer,
  input: { readonly deadlineMs: number; readonly accepts?: (status: number) => boolean },
): Promise<void> {
  const { deadlineMs, accepts = (status) => status < 500 } = input;
  const end = Date.now() + deadlineMs;
  for (;;) {
    const pause = new Promise((resolve) => setTimeout(resolve, 50));
    const status = await Promise.race([statusOf(url), server.ended]);
    if (status !== undefined && accepts(status)) return;
    if (Date.now() > end) throw new Error(`${url} did not answer within ${deadlineMs} ms:\n${server.log()}`);
    await Promise.race([pause, server.ended]);
  }
}

async function statusOf(url: string): Promise<number | undefined> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(2_000) });
    await response.body?.cancel();
    return response.status;
  } catch {
    return undefined;
  }
}

/**
 * Starts a server on a port that was free a moment ago, and on another one where somebody else was faster.
 * @param start given a port for each of its listeners
 */
export async function onFreePorts<T>(count: number, start: (ports: readonly number[]) => Promise<T>): Promise<T> {
  for (let triesLeft = 4; ; triesLeft -= 1) {
    try {
      return await start(await freePorts(count));
    } catch (error) {
      const taken = error instanceof ServerEnded && /address already in use|port .*in use|EADDRINUSE/i.test(error.log);
      if (!taken || triesLeft === 0) throw error;
    }
  }
}

async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(Array.from({ length: count }, listen));
  return Promise.all(servers.map((server) => closed(server)));
}

function listen(): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => resolve(server));
  });
}

function closed(server: Server): Promise<number> {
  const { port } = server.address() as AddressInfo;
  return new Promise((resolve) => server.close(() => resolve(port)));
}
