import { readSettings, SettingsError } from './config.ts';
import { type Gateway, startGateway } from './gateway.ts';

/** Starts the gateway from the environment and stops it in order on SIGTERM or SIGINT. */
async function main(): Promise<void> {
  const gateway = await startGateway(readSettings(process.env));
  stopOnSignals(gateway);
  const { url } = gateway;
  process.stdout.write(
    `${[
      `partway is listening on ${url}`,
      ...gateway.description.map((line) => `  ${line}`),
      '',
      'Try it (with the id of the first answer for ID):',
      `  curl -s ${url}/uploads -H 'Content-Type: application/json' -d '{"key":"hello.txt","size":12}'`,
      `  curl -s -X PUT ${url}/uploads/ID/parts/1 --data-binary 'hello world!'`,
      `  curl -s -X POST ${url}/uploads/ID/complete && curl -s ${url}/objects/hello.txt`,
      '',
      `Reference: ${url}/docs`,
    ].join('\n')}\n`,
  );
}

function stopOnSignals(gateway: Gateway): void {
  let signals = 0;
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      signals++;
      if (signals > 1) process.exit(signal === 'SIGINT' ? 130 : 143);
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
  if (error instanceof SettingsError) return error.message;
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

main().catch(fail);
