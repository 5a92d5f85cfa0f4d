import { readFile } from 'node:fs/promises';
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { ServerOptions } from '../sdk/node/index.ts';

export interface ServerFlags {
  readonly server?: string;
  readonly apiKeyFile?: string;
  readonly timeout: number;
}

/** How every command that talks to a gateway is told where it is. The key itself is never an argument: others can list those. */
export function addServerOptions(command: Command): Command {
  return command
    .addOption(new Option('--server <url>', 'the gateway, such as http://127.0.0.1:8080').env('PARTWAY_URL'))
    .addOption(
      new Option('--api-key-file <file>', 'holds the API key; PARTWAY_API_KEY is one').env('PARTWAY_API_KEY_FILE'),
    )
    .addOption(
      new Option('--timeout <seconds>', 'a gateway that is silent for so long has lost the request')
        .env('PARTWAY_TIMEOUT')
        .argParser(parseSeconds)
        .default(60),
    );
}

/** @throws UsageError */
export async function serverOptionsOf(flags: ServerFlags): Promise<ServerOptions> {
  if (flags.server === undefined || flags.server === '') {
    const { UsageError } = await import('../sdk/node/index.ts');
    throw new UsageError('--server or PARTWAY_URL names the gateway, such as http://127.0.0.1:8080');
  }
  const apiKey = process.env.PARTWAY_API_KEY || (await keyIn(flags.apiKeyFile));
  return { server: flags.server, apiKey, timeoutMs: flags.timeout * 1000 };
}

async function keyIn(path: string | undefined): Promise<string | undefined> {
  if (path === undefined || path === '') return undefined;
  const { UsageError } = await import('../sdk/node/index.ts');
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    throw new UsageError(`--api-key-file ${path}: ${error instanceof Error ? error.message : String(error)}`);
  });
  // Without a key the gateway may let everybody in, and nobody would notice.
  if (text.trim() === '') throw new UsageError(`--api-key-file ${path}: it is empty`);
  return text.trim();
}

export function parseSeconds(text: string): number {
  const seconds = Number(text);
  if (seconds > 0 && seconds < 1e6) return seconds;
  throw new InvalidArgumentError('Wanted: seconds, more than 0.');
}
