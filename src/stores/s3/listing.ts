import { ListMultipartUploadsCommand, ListObjectsV2Command, ListPartsCommand, type S3Client } from '@aws-sdk/client-s3';
import {
  type CallOptions,
  type MultipartAddress,
  type ObjectAddress,
  type StoredPart,
  StoreError,
} from '../../core/object-store.ts';
import { callStore } from './call.ts';

export async function* listParts(
  client: S3Client,
  { bucket, key, storeUploadId, after = 0 }: MultipartAddress & { readonly after?: number },
  { signal }: CallOptions = {},
): AsyncGenerator<StoredPart> {
  let marker = after === 0 ? undefined : String(after);
  do {
    const command = new ListPartsCommand({
      Bucket: bucket,
      Key: key,
      UploadId: storeUploadId,
      PartNumberMarker: marker,
    });
    const page = await callStore('ListParts', signal, (options) => client.send(command, options)).catch(endedIsUnknown);
    for (const { PartNumber = 0, ETag = '', Size = 0 } of page.Parts ?? []) {
      yield { partNumber: PartNumber, etag: ETag, sizeBytes: Size };
    }
    marker = nextMarker('ListParts', page.IsTruncated, marker, page.NextPartNumberMarker);
  } while (marker !== undefined);
}

export async function* listMultipartUploads(
  client: S3Client,
  { bucket, key }: ObjectAddress,
  { signal }: CallOptions = {},
): AsyncGenerator<{ storeUploadId: string; initiatedAt: Date | undefined }> {
  let keyMarker: string | undefined;
  let uploadIdMarker: string | undefined;
  let marker: string | undefined;
  do {
    const command = new ListMultipartUploadsCommand({
      Bucket: bucket,
      Prefix: key,
      KeyMarker: keyMarker,
      UploadIdMarker: uploadIdMarker,
    });
    const page = await callStore('ListMultipartUploads', signal, (options) => client.send(command, options));
    for (const { Key, UploadId, Initiated } of page.Uploads ?? []) {
      if (Key === key && UploadId !== undefined) yield { storeUploadId: UploadId, initiatedAt: Initiated };
    }
    ({ NextKeyMarker: keyMarker, NextUploadIdMarker: uploadIdMarker } = page);
    marker = nextMarker(
      'ListMultipartUploads',
      page.IsTruncated,
      marker,
      keyMarker && `${keyMarker} ${uploadIdMarker}`,
    );
  } while (marker !== undefined);
}

export async function* listObjects(
  client: S3Client,
  { bucket, prefix }: { bucket: string; prefix: string },
  { signal }: CallOptions = {},
): AsyncGenerator<{ key: string; sizeBytes: number; lastModified: Date | undefined }> {
  let marker: string | undefined;
  do {
    const command = new ListObjectsV2Command({ Bucket: bucket, Prefix: prefix, ContinuationToken: marker });
    const page = await callStore('ListObjectsV2', signal, (options) => client.send(command, options));
    for (const { Key = '', Size = 0, LastModified } of page.Contents ?? []) {
      yield { key: Key, sizeBytes: Size, lastModified: LastModified };
    }
    marker = nextMarker('ListObjectsV2', page.IsTruncated, marker, page.NextContinuationToken);
  } while (marker !== undefined);
}

/** RGW answers for an upload that has been completed with NoSuchKey. */
function endedIsUnknown(error: unknown): never {
  if (error instanceof StoreError && error.kind === 'no_such_object') {
    throw new StoreError('no_such_upload', error.message, { cause: error });
  }
  throw error;
}

/** A list that stopped in the middle would read as parts that are missing, one that turns in a circle would not end. */
function nextMarker(
  call: string,
  isTruncated: boolean | undefined,
  before: string | undefined,
  next: string | undefined,
): string | undefined {
  if (isTruncated !== true) return undefined;
  if (next !== undefined && next !== '' && next !== before) return next;
  throw new StoreError('unavailable', `${call}: the store announced a further page and did not say which`);
}
