import type { ExitCode } from './exit-codes.ts';
import { printable } from './units.ts';

/** What went wrong, in one line where it was foreseen, and an exit code for scripts. */
export function reportFailure(error: unknown): void {
  console.error(isForeseen(error) ? wordsOf(error) : error);
  process.exitCode = exitCodeOf(error);
}

/** For people, as every command says it. */
export function wordsOf(error: Error): string {
  const lines = (error.message + hintOf(error)).split('\n');
  return `partway: ${lines.map(printable).join('\n')}`;
}

function hintOf(error: Error): string {
  if (error.name === 'NotAuthorisedError') return ' PARTWAY_API_KEY or --api-key-file gives the key.';
  return '';
}

export function isForeseen(error: unknown): error is Error {
  if (!(error instanceof Error)) return false;
  return error.name in ofSdk || /^(UploadError|SettingsError|StartError|EmbeddedPostgresError)$/.test(error.name);
}

/** By name: the SDK is not loaded where it is not needed. */
const ofSdk: Readonly<Record<string, ExitCode>> = {
  UsageError: 2,
  SourceError: 3,
  NoUploadError: 4,
  TemporaryError: 5,
  NotAuthorisedError: 6,
  IntegrityError: 7,
  RefusedError: 8,
  InterruptedError: 130,
};

export function exitCodeOf(error: unknown): ExitCode {
  if (!(error instanceof Error)) return 1;
  const code = ofSdk[error.name];
  if (code !== undefined) return code;
  if (error.name === 'SettingsError') return 2;
  if (error.name === 'StartError') return isPassing(error.cause) ? 5 : 2;
  if (error.name !== 'UploadError' || !('code' in error)) return 1;
  return isPassing(error) ? 5 : 2;
}

function isPassing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'records_unavailable';
}
