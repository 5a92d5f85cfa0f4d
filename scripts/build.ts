import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** Makes dist/: plain JavaScript, and the one script of the reference page. */
rmSync('dist', { recursive: true, force: true });
execFileSync('tsc', ['-p', 'tsconfig.build.json'], { stdio: 'inherit' });
copyFileSync(
  fileURLToPath(new URL('browser/standalone.js', import.meta.resolve('@scalar/api-reference'))),
  'dist/protocols/http/reference-page.js',
);
chmodSync('dist/cli/main.js', 0o755);
