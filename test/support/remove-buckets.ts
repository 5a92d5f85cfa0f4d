import {
  AbortMultipartUploadCommand,
  DeleteBucketCommand,
  DeleteObjectsCommand,
  ListBucketsCommand,
  ListMultipartUploadsCommand,
  paginateListObjectsV2,
  type S3Client,
} from '@aws-sdk/client-s3';
import { clientOf, type TestStore } from './stores.ts';

/** Empties and removes the buckets whose name begins so. */
export async function removeBuckets(store: TestStore, prefix: string): Promise<void> {
  const client = clientOf(store);
  try {
    const { Buckets = [] } = await client.send(new ListBucketsCommand({}));
    for (const { Name = '' } of Buckets) {
      if (Name.startsWith(prefix)) await removeBucket(client, Name);
    }
  } finally {
    client.destroy();
  }
}

async function removeBucket(client: S3Client, bucket: string): Promise<void> {
  const { Uploads = [] } = await client.send(new ListMultipartUploadsCommand({ Bucket: bucket }));
  for (const { Key, UploadId } of Uploads) {
    await client.send(new AbortMultipartUploadCommand({ Bucket: bucket, Key, UploadId }));
  }
  for await (const { Contents = [] } of paginateListObjectsV2({ client }, { Bucket: bucket })) {
    if (Contents.length === 0) continue;
    const Objects = Contents.map(({ Key }) => ({ Key }));
    await client.send(new DeleteObjectsCommand({ Bucket: bucket, Delete: { Objects, Quiet: true } }));
  }
  await client.send(new DeleteBucketCommand({ Bucket: bucket }));
}
