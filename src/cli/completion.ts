import { Argument, type Command } from 'commander';
import { examples } from './examples.ts';

const shells = ['bash', 'zsh'] as const;

export type Shell = (typeof shells)[number];

/** `partway completion bash|zsh`: what a shell needs to complete every command of the program. */
export function addCompletion(program: Command): void {
  program
    .command('completion')
    .description('print what a shell needs to complete commands, options and files')
    .addHelpText('after', examples(['source <(partway completion bash)', 'in ~/.bashrc']))
    .addArgument(new Argument('<shell>', 'the one to print it for').choices(shells))
    .action(async (shell: Shell) => {
      const { completionScript } = await import('./completion/script.ts');
      process.stdout.write(completionScript(program, shell));
    });
}
