import { defineConfig } from 'vitest/config';

/** Arithmetic and rules: they need no server. */
const unit = ['test/property/**/*.test.ts', 'test/config.test.ts'];

export default defineConfig({
  test: {
    watch: false,
    pool: 'forks',
    // Most of the time is waiting, for leases and for processes to start: one file at a time leaves two cores idle.
    maxWorkers: 2,
    // On a busy machine a second is nothing.
    expect: { poll: { timeout: 20_000 } },
    reporters: process.env.CI === 'true' ? ['default', 'json'] : ['default'],
    outputFile: { json: '.cache/test-results.json' },
    projects: [
      { extends: true, test: { name: 'unit', include: unit, testTimeout: 20_000 } },
      {
        extends: true,
        test: {
          name: 'integration',
          include: ['test/**/*.test.ts'],
          exclude: [...unit, 'test/bench/**'],
          globalSetup: ['test/support/global-setup.ts'],
          testTimeout: 60_000,
          // The first file that asks for a server waits for it: a database 2 s, Ceph 5 s, more where they are built first.
          hookTimeout: 300_000,
        },
      },
    ],
  },
});
