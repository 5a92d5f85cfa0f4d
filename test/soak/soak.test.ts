import { randomInt } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { createTestDatabase } from '../support/postgres.ts';
import { createBucket, useMinio } from '../support/stores.ts';
import { soakPushes } from './push-soak.ts';
import { soak } from './soak.ts';

const rounds = 10;
const minio = await useMinio();

describe.runIf(minio)('npm run soak, a short share of it', () => {
  test(`${rounds} kills lose nothing`, { timeout: 300_000 }, async () => {
    const database = await createTestDatabase();
    try {
      const place = { store: minio!, bucket: await createBucket(minio!), databaseUrl: database.url };
      const seed = randomInt(2 ** 32);
      const report = await soak(place, { rounds, seed, print: (line) => console.log(`seed ${seed}: ${line}`) });
      expect(report.kills).toBe(rounds);
    } finally {
      await database.drop();
    }
  });
  test(`${rounds} kills of pushes and their gateway lose nothing`, { timeout: 300_000 }, async () => {
    const database = await createTestDatabase();
    try {
      const place = { store: minio!, bucket: await createBucket(minio!), databaseUrl: database.url };
      const seed = randomInt(2 ** 32);
      const report = await soakPushes(place, { rounds, seed, print: (line) => console.log(`seed ${seed}: ${line}`) });
      expect(report.kills.push + report.kills.gateway).toBeGreaterThanOrEqual(rounds);
    } finally {
      await database.drop();
    }
  });
});
