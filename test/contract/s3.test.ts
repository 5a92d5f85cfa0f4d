import { it } from 'vitest';
import { createS3Store } from '../../src/stores/s3/s3-store.ts';
import { createBucket, type TestStore, useMinio, useRgw } from '../support/stores.ts';
import { contractLimits } from './limits.ts';
import { describeObjectStore } from './object-store.ts';

const servers = { MinIO: await useMinio(), 'Ceph RGW': await useRgw() };

for (const [name, server] of Object.entries(servers)) {
  if (server === undefined) it.skip(`${name} as an object store`, () => undefined);
  else
    describeObjectStore(name, async () => ({
      ...(await setup(server)),
      copiesAnyEtag: name === 'Ceph RGW',
      deletesAnyEtag: name === 'MinIO',
    }));
}

async function setup(server: TestStore) {
  const store = createS3Store({
    endpoint: server.endpoint,
    region: 'us-east-1',
    accessKeyId: server.accessKeyId,
    secretAccessKey: server.secretAccessKey,
    forcePathStyle: true,
    limits: contractLimits,
  });
  const bucket = await createBucket(server);
  return { store, bucket, absentBucket: `${bucket}-absent`, stop: () => store.close() };
}
