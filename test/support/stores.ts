import { randomBytes } from 'node:crypto';
import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';
import { askForServer } from './run-servers.ts';

export interface TestStore {
  readonly name: 'minio' | 'rgw' | 's3';
  readonly endpoint: string;
  /** Of the names of this run's buckets, where the store outlives the run and they are to be found again. */
  readonly bucketPrefix?: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
}

export interface StartedStore extends TestStore {
  stop(): Promise<void>;
}

export function clientOf(store: TestStore): S3Client {
  return new S3Client({
    endpoint: store.endpoint,
    region: 'us-east-1',
    forcePathStyle: true,
    credentials: { accessKeyId: store.accessKeyId, secretAccessKey: store.secretAccessKey },
  });
}

/** A bucket that no other test uses. */
export async function createBucket(store: TestStore): Promise<string> {
  const { bucketPrefix = 'partway-test-' } = store;
  const bucket = `${bucketPrefix}${randomBytes(8).toString('hex')}`;
  const client = clientOf(store);
  try {
    await client.send(new CreateBucketCommand({ Bucket: bucket }));
  } finally {
    client.destroy();
  }
  return bucket;
}

/** The run's MinIO, or the store that S3_ENDPOINT names; `undefined` where there is none. */
export function useMinio(): Promise<TestStore | undefined> {
  return useStore('minio');
}

/** The run's Ceph RGW; `undefined` where it cannot be had. */
export function useRgw(): Promise<TestStore | undefined> {
  return useStore('rgw');
}

async function useStore(name: 'minio' | 'rgw'): Promise<TestStore | undefined> {
  const answer = await askForServer(name);
  return 'missing' in answer ? undefined : (answer.started as TestStore);
}
