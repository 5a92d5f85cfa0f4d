import { createRequire } from 'node:module';
import { Command } from 'commander';
import { addCompletion } from './completion.ts';
import { addDoctor } from './doctor.ts';
import { exitCodeTable } from './exit-codes.ts';
import { addGc } from './gc.ts';
import { addKeys } from './keys.ts';
import { addPush } from './push.ts';
import { addUploads } from './uploads.ts';

const { version } = createRequire(import.meta.url)('../../package.json') as { version: string };

const program = new Command('partway')
  .description('A resumable-upload gateway: chunks in, one S3 multipart upload out.')
  .version(version)
  .addHelpText('after', `\n${exitCodeTable()}`)
  .showHelpAfterError('(--help shows what there is)')
  .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : 2));

program
  .command('serve')
  .description('run the gateway; its settings come from the environment')
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
