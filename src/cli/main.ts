#!/usr/bin/env node
import { Command } from 'commander';
import { addKeys } from './keys.ts';

const program = new Command('partway')
  .description('A resumable-upload gateway: chunks in, one S3 multipart upload out.')
  .showHelpAfterError('(--help shows what there is)')
  .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : 2));

program
  .command('serve')
  .description('run the gateway; its settings come from the environment')
  .action(async () => {
    await import('../main.ts');
  });

addKeys(program);

await program.parseAsync();
