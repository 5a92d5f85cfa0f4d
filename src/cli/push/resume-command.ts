import { basename } from 'node:path';

/** What to type to go on: the same command, without what would begin anew. */
export function resumeCommand(argv: readonly string[]): string {
  const [, program = 'partway', ...args] = argv;
  const name = /\.(cjs|js|ts)$/.test(program) ? 'partway' : basename(program);
  return [name, ...args.filter((argument) => argument !== '--restart')].map(quoted).join(' ');
}

/** As a POSIX shell reads it. */
function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
