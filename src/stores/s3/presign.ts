import { type S3Client, UploadPartCommand } from '@aws-sdk/client-s3';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';
import type { ObjectStore } from '../../core/ports.ts';
import { callStore } from './call.ts';

/** What is signed as a header must be sent as it was signed; so length and digest bind the URL's holder. */
export function presignUploadPart(
  client: S3Client,
  input: Parameters<ObjectStore['presignUploadPart']>[0],
): ReturnType<ObjectStore['presignUploadPart']> {
  const { sizeBytes, contentMd5 } = input;
  const command = new UploadPartCommand({
    Bucket: input.bucket,
    Key: input.key,
    UploadId: input.storeUploadId,
    PartNumber: input.partNumber,
    ContentLength: sizeBytes,
    ContentMD5: contentMd5,
  });
  return callStore('presign UploadPart', undefined, async () => ({
    url: await getSignedUrl(client, command, { expiresIn: input.expiresInSeconds }),
    headers: {
      ...(sizeBytes !== undefined && { 'Content-Length': String(sizeBytes) }),
      ...(contentMd5 !== undefined && { 'Content-MD5': contentMd5 }),
    },
  }));
}
