/** The plain closing line of a test run, counted from vitest's JSON report. */
import { readFileSync } from 'node:fs';

interface Report {
  readonly testResults: readonly {
    readonly status: string;
    readonly assertionResults: readonly { readonly status: string }[];
  }[];
}

const [file = ''] = process.argv.slice(2);
const { testResults } = JSON.parse(readFileSync(file, 'utf8')) as Report;
const tests = testResults.flatMap((result) => result.assertionResults.map(({ status }) => status));
const passed = tests.filter((status) => status === 'passed').length;
// A file that cannot be loaded has no tests of its own to fail.
const brokenFiles = testResults.filter((result) => result.status === 'failed' && result.assertionResults.length === 0);
const failed = tests.filter((status) => status === 'failed').length + brokenFiles.length;
const skipped = tests.length - passed - tests.filter((status) => status === 'failed').length;
process.stdout.write(`\n${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}\n`);
process.exit(passed > 0 && failed === 0 ? 0 : 1);
