import { GetObjectCommand, ListMultipartUploadsCommand } from '@aws-sdk/client-s3';
import { clientOf, type TestStore } from '../support/stores.ts';

/** What the store itself holds at a key, past the gateway. */
export async function readStored(store: TestStore, bucket: string, key: string): Promise<Uint8Array> {
  const client = clientOf(store);
  try {
    const { Body } = await client.send(new GetObjectCommand({ Bucket: bucket, Key: key }));
    return await Body!.transformToByteArray();
  } finally {
    client.destroy();
  }
}

/** The upload IDs that the store still holds for a key. */
export async function unfinished(store: TestStore, bucket: string, key: string): Promise<string[]> {
  const client = clientOf(store);
  try {
    const { Uploads = [] } = await client.send(new ListMultipartUploadsCommand({ Bucket: bucket, Prefix: key }));
    return Uploads.filter(({ Key }) => Key === key).map(({ UploadId }) => UploadId ?? '');
  } finally {
    client.destroy();
  }
}
