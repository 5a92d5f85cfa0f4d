import type { ExitCode } from './exit-codes.ts';

/** What went wrong, in one line where it was foreseen, and an exit code for scripts. */
export function reportFailure(error: unknown): void {
  const foreseen =
    error instanceof Error && /^(UploadError|SettingsError|StartError|EmbeddedPostgresError)$/.test(error.name);
  console.error(foreseen ? error.message : error);
  process.exitCode = exitCodeOf(error);
}

function exitCodeOf(error: unknown): ExitCode {
  if (!(error instanceof Error)) return 1;
  if (error.name === 'SettingsError') return 2;
  if (error.name === 'StartError') return isPassing(error.cause) ? 5 : 2;
  if (error.name !== 'UploadError' || !('code' in error)) return 1;
  return isPassing(error) ? 5 : 2;
}

function isPassing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'records_unavailable';
}
