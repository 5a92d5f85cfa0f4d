import { setFlagsFromString } from 'node:v8';
import { readSettings } from './config.ts';
import { type Gateway, startGateway } from './gateway.ts';

/**
 * V8 counts the bytes of bodies that pass by towards its heap's limit, which is tight for a heap as small as ours: 8 MiB
 * chunks caused a full collection every 190 MiB. Now the heap may grow to four times of what is alive.
 */
setFlagsFromString('--heap-growing-percent=300');

/** Starts the gateway from the environment and stops it in order on SIGTERM or SIGINT. */
async function main(): Promise<void> {
  const settings = readSettings(process.env);
  if (settings.DATABASE_URL === undefined) process.stdout.write('starting Postgres …\n');
  const gateway = await startGateway(settings);
  stopOnSignals(gateway);
  const url = gateway.url.replace('//0.0.0.0:', '//127.0.0.1:').replace('//[::]:', '//[::1]:');
  const curl = settings.PARTWAY_AUTH === 'keys' ? "curl -sS -H 'Authorization: Bearer KEY'" : 'curl -sS';
  process.stdout.write(
    `${[
      `partway is listening on ${gateway.url}`,
      ...gateway.description.map((line) => `  ${line}`),
      '',
      `Try it (with the id of the first answer for ID${settings.PARTWAY_AUTH === 'keys' ? ', and an API key for KEY' : ''}):`,
      `  ${curl} ${url}/uploads -H 'Content-Type: application/json' -d '{"key":"hello.txt","size":12}'`,
      `  ${curl} -X PUT ${url}/uploads/ID/parts/1 --data-binary 'hello world!'`,
      `  ${curl} -X POST ${url}/uploads/ID/complete${gateway.readsObjects ? ` && ${curl} ${url}/objects/hello.txt` : ''}`,
      '',
      `Reference: ${url}/docs`,
    ].join('\n')}\n`,
  );
}

/** One Ctrl-C comes twice where npm passes it on. */
const sameSignalMs = 1_000;

function stopOnSignals(gateway: Gateway): void {
  let firstAtMs: number | undefined;
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      if (firstAtMs !== undefined) {
        if (performance.now() - firstAtMs > sameSignalMs) process.exit(signal === 'SIGINT' ? 130 : 143);
        return;
      }
      firstAtMs = performance.now();
      process.stdout.write('stopping: letting requests under way end (again: at once)\n');
      gateway.stop().then(
        () => process.exit(0),
        (error: unknown) => fail(error),
      );
    });
  }
}

function fail(error: unknown): never {
  process.stderr.write(`${describe(error)}\n`);
  process.exit(1);
}

function describe(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const isForeseen = /^(SettingsError|StartError|EmbeddedPostgresError)$/.test(error.name);
  return isForeseen ? error.message : (error.stack ?? error.message);
}

main().catch(fail);
