import { createRequire } from 'node:module';
import { Command } from 'commander';
import { addCompletion } from './completion.ts';
import { addDoctor } from './doctor.ts';
import { examples } from './examples.ts';
import { exitCodeTable } from './exit-codes.ts';
import { addGc } from './gc.ts';
import { addKeys } from './keys.ts';
import { addPush } from './push.ts';
import { addUploads } from './uploads.ts';

const { version } = createRequire(import.meta.url)('../../package.json') as { version: string };

const program = new Command('partway')
  .description('A resumable-upload gateway: chunks in, one S3 multipart upload out.')
  .version(version)
  .addHelpText(
    'after',
    examples(
      ['partway serve', 'a gateway on http://127.0.0.1:8080'],
      ['partway push backup.tar.zst --server http://127.0.0.1:8080', 'and again, if it was cut off'],
      ['partway ls --state open', 'what is under way, where PARTWAY_URL names the gateway'],
    ),
  )
  .addHelpText('after', `\n${exitCodeTable()}`)
  .showHelpAfterError('(--help shows what there is)')
  .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : 2));

program
  .command('serve')
  .description('run the gateway; its settings come from the environment')
  .addHelpText(
    'after',
    examples(
      ['PARTWAY_PORT=8090 partway serve', 'all settings: docs/settings.md'],
      ['PARTWAY_PORT=8090 partway doctor', 'says what is wrong with them'],
    ),
  )
  .action(async () => {
    await import('../main.ts');
  });

addPush(program);
addUploads(program);
addKeys(program);
addDoctor(program);
addGc(program);
addCompletion(program);

// Who reads what is printed may have gone: the work goes on all the same. Where it can't be written, that is told at the end.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') process.exitCode ||= 1;
  });
}

void program.parseAsync();
