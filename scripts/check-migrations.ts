import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';

/** Fails when src/db/schema.ts has changed and no migration says so. */
const copy = mkdtempSync(join(tmpdir(), 'partway-migrations-'));
try {
  cpSync('drizzle', copy, { recursive: true });
  const before = readdirSync(copy).length;
  execFileSync(
    'drizzle-kit',
    ['generate', '--dialect', 'postgresql', '--schema', './src/db/schema.ts', '--out', relative('.', copy)],
    { stdio: ['ignore', 'ignore', 'inherit'] },
  );
  if (readdirSync(copy).length !== before) {
    process.stderr.write('drizzle/ is not in step with src/db/schema.ts: run npm run migrations\n');
    process.exitCode = 1;
  }
} finally {
  rmSync(copy, { recursive: true, force: true });
}
