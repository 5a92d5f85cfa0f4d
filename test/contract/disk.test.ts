import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createDiskStore } from '../../src/stores/disk/disk-store.ts';
import { contractLimits } from './limits.ts';
import { describeObjectStore } from './object-store.ts';

describeObjectStore('disk', async () => {
  const root = await mkdtemp(join(tmpdir(), 'partway-disk-'));
  return {
    store: createDiskStore({ root, limits: contractLimits }),
    bucket: 'contract',
    stop: () => rm(root, { recursive: true, force: true }),
  };
});
