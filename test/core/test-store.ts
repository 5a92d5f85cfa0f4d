import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ObjectStore } from '../../src/core/object-store.ts';
import { createDiskStore } from '../../src/stores/disk/disk-store.ts';
import { contractLimits } from '../contract/limits.ts';

/** A real store with small parts, so that many fit a test. */
export async function openTestStore(): Promise<{ store: ObjectStore; bucket: string; stop: () => Promise<void> }> {
  const root = await mkdtemp(join(tmpdir(), 'partway-core-'));
  const store = createDiskStore({ root, limits: { ...contractLimits, minPartSizeBytes: 1024 } });
  return {
    store,
    bucket: 'core',
    stop: async () => {
      await store.close();
      await rm(root, { recursive: true, force: true });
    },
  };
}
