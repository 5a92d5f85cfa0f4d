import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/** Makes dist/: plain JavaScript, the file that npm links as `partway`, and the one script of the reference page. */
rmSync('dist', { recursive: true, force: true });
execFileSync('tsc', ['-p', 'tsconfig.build.json'], { stdio: 'inherit' });
copyFileSync(
  fileURLToPath(new URL('browser/standalone.js', import.meta.resolve('@scalar/api-reference'))),
  'dist/protocols/http/reference-page.js',
);
copyFileSync('src/cli/bin.cjs', 'dist/cli/bin.cjs');
chmodSync('dist/cli/bin.cjs', 0o755);
