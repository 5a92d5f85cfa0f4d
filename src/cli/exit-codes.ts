/** What the program's exit code says, the same for every command. */
export const exitCodes = {
  0: 'ok',
  1: 'unexpected',
  2: 'usage',
  3: 'source missing or changed',
  4: 'no such upload',
  5: 'temporary, run again',
  6: 'not authorised',
  7: 'integrity',
  8: 'refused',
  130: 'interrupted, resumable',
  143: 'terminated',
} as const;

export type ExitCode = keyof typeof exitCodes;

export function exitCodeTable(): string {
  const rows = Object.entries(exitCodes).map(([code, meaning]) => `  ${code.padStart(3)}  ${meaning}`);
  return ['Exit codes:', ...rows].join('\n');
}
