import { execFileSync } from 'node:child_process';
import { chmodSync, copyFileSync, readFileSync, rmSync } from 'node:fs';
import { dirname, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';

/** Makes dist/: plain JavaScript, the program that npm links as `partway`, and the one script of the reference page. */
rmSync('dist', { recursive: true, force: true });
execFileSync('tsc', ['-p', 'tsconfig.build.json'], { stdio: 'inherit' });
copyFileSync(
  fileURLToPath(new URL('browser/standalone.js', import.meta.resolve('@scalar/api-reference'))),
  'dist/protocols/http/reference-page.js',
);
await bundleProgram();
copyFileSync('src/cli/bin.cjs', 'dist/cli/bin.cjs');
chmodSync('dist/cli/bin.cjs', 0o755);

/**
 * What the command line must load before it knows its command, as one file: every module more costs as much as a tenth of
 * Node's own start. What a command loads when it runs stays where it is.
 */
async function bundleProgram(): Promise<void> {
  const from = resolve('src/cli');
  await using bundle = await rolldown({
    input: 'src/cli/main.ts',
    platform: 'node',
    plugins: [
      {
        name: 'leave what is loaded lazily',
        resolveDynamicImport(specifier, importer) {
          if (typeof specifier !== 'string' || importer === undefined || !specifier.startsWith('.')) return null;
          const path = relative(from, resolve(dirname(importer), specifier)).replace(/\.ts$/, '.js');
          return { id: `./${path}`, external: true };
        },
      },
    ],
  });
  const license = readFileSync(fileURLToPath(new URL('LICENSE', import.meta.resolve('commander'))), 'utf8');
  await bundle.write({ file: 'dist/cli/program.cjs', format: 'cjs', banner: `/* Contains commander:\n\n${license}*/` });
}
