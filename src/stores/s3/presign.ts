import { type S3Client, UploadPartCommand } from '@aws-sdk/client-s3';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';
import type { ObjectStore, Pin } from '../../core/ports.ts';
import { callStore } from './call.ts';

const pinHeaders = { crc32: 'x-amz-checksum-crc32', md5: 'Content-MD5' } as const satisfies Record<
  Pin['algorithm'],
  string
>;

/** What is signed as a header must be sent as it was signed; so length and digest bind the URL's holder. */
export function presignUploadPart(
  client: S3Client,
  input: Parameters<ObjectStore['presignUploadPart']>[0],
): ReturnType<ObjectStore['presignUploadPart']> {
  const { sizeBytes, pin } = input;
  const command = new UploadPartCommand({
    Bucket: input.bucket,
    Key: input.key,
    UploadId: input.storeUploadId,
    PartNumber: input.partNumber,
    ContentLength: sizeBytes,
    ...(pin?.algorithm === 'crc32' && { ChecksumCRC32: pin.value }),
    ...(pin?.algorithm === 'md5' && { ContentMD5: pin.value }),
  });
  return callStore('presign UploadPart', undefined, async () => ({
    url: await getSignedUrl(client, command, {
      expiresIn: input.expiresInSeconds,
      // In the query nobody would look at it.
      unhoistableHeaders: new Set([pinHeaders.crc32]),
    }),
    headers: {
      ...(sizeBytes !== undefined && { 'Content-Length': String(sizeBytes) }),
      ...(pin !== undefined && { [pinHeaders[pin.algorithm]]: pin.value }),
    },
  }));
}
