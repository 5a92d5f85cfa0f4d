import { type Command, Option } from 'commander';
import { examples } from './examples.ts';
import { reportFailure } from './failure.ts';

/** `partway doctor`: whether all that a gateway needs is there, and what is to be known of it. */
export function addDoctor(program: Command): void {
  program
    .command('doctor')
    .description('look at settings, gateway, records and store, and say what is wrong (nothing is started or migrated)')
    .addOption(new Option('--server <url>', 'a gateway that runs, to look at it as its clients do').env('PARTWAY_URL'))
    .option('--json', 'print one JSON document')
    .addHelpText('after', examples(['partway doctor', 'with the environment that the gateway has']))
    .action(async (options: { server?: string; json?: true }) => {
      try {
        const { runDoctor } = await import('./doctor/run-doctor.ts');
        process.exitCode = await runDoctor(options, process.env);
      } catch (error) {
        reportFailure(error);
      }
    });
}
