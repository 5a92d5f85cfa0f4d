import { readFile, writeFile } from 'node:fs/promises';
import { settingsTable } from '../src/config.ts';

/** Writes docs/settings.md from the schema; with --check only tells whether it is in step. */
const file = new URL('../docs/settings.md', import.meta.url);

const rows = settingsTable().map(
  ({ name, defaultValue, description }) =>
    `| \`${name}\` | ${defaultValue === '' ? '' : `\`${defaultValue}\``} | ${description.replaceAll('|', '\\|')} |`,
);
const text = `# Settings

Read once, at the start, from the environment. An empty value counts as unset. A wrong one stops the start with a
message that names every fault. Sizes: \`64MiB\`, \`5GiB\`, or bytes. Times: \`15s\`, \`30m\`, \`24h\`, \`7d\`.

| setting | default | what it does |
|---|---|---|
${rows.join('\n')}
`;

if (!process.argv.includes('--check')) {
  await writeFile(file, text);
} else if ((await readFile(file, 'utf8').catch(() => '')) !== text) {
  process.stderr.write('docs/settings.md is not in step with src/config.ts: run npm run docs\n');
  process.exit(1);
}
