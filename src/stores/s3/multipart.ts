import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  UploadPartCopyCommand,
} from '@aws-sdk/client-s3';
import { unquoted } from '../../core/etag.ts';
import { type MultipartAddress, type ObjectAddress, type ObjectStore, StoreError } from '../../core/object-store.ts';
import { callStore, callWithBody } from './call.ts';
import type { S3Clients } from './clients.ts';
import { encodeMetadata } from './metadata.ts';

type MultipartCalls = Pick<
  ObjectStore,
  'createMultipartUpload' | 'uploadPart' | 'copyPart' | 'completeMultipartUpload' | 'abortMultipartUpload'
>;

export function multipartCalls({ puts, control, commit }: S3Clients): MultipartCalls {
  return {
    async createMultipartUpload({ bucket, key, contentType, metadata }, { signal } = {}) {
      const command = new CreateMultipartUploadCommand({
        Bucket: bucket,
        Key: key,
        ContentType: contentType,
        Metadata: encodeMetadata(metadata),
      });
      const { UploadId } = await callStore('CreateMultipartUpload', signal, (options) => commit.send(command, options));
      return { storeUploadId: required(UploadId, 'CreateMultipartUpload', 'an upload ID') };
    },

    async uploadPart({ contentMd5, ...input }, { signal } = {}) {
      const etag = await callWithBody('UploadPart', input, signal, (body, { abortSignal }) =>
        puts.send(
          {
            name: 'UploadPart',
            bucket: input.bucket,
            key: input.key,
            query: { partNumber: String(input.partNumber), uploadId: input.storeUploadId },
            headers: contentMd5 === undefined ? {} : { 'content-md5': contentMd5 },
            body,
            sizeBytes: input.sizeBytes,
          },
          abortSignal,
        ),
      );
      return { etag: required(etag, 'UploadPart', 'an ETag') };
    },

    async copyPart({ source, ...input }, { signal } = {}) {
      const command = new UploadPartCopyCommand({
        ...addressed(input),
        PartNumber: input.partNumber,
        CopySource: copySource(source),
        ...(source.range && { CopySourceRange: `bytes=${source.range.first}-${source.range.last}` }),
        ...(source.etag && { CopySourceIfMatch: `"${unquoted(source.etag)}"` }),
      });
      const { CopyPartResult } = await callStore('UploadPartCopy', signal, (options) =>
        commit.send(command, options),
      ).catch(asAbsence);
      return { etag: required(CopyPartResult?.ETag, 'UploadPartCopy', 'an ETag') };
    },

    async completeMultipartUpload({ parts, ifNoneMatch, ...input }, { signal } = {}) {
      const command = new CompleteMultipartUploadCommand({
        ...addressed(input),
        MultipartUpload: { Parts: parts.map(({ partNumber, etag }) => ({ PartNumber: partNumber, ETag: etag })) },
        ...(ifNoneMatch && { IfNoneMatch: '*' }),
      });
      const result = await callStore('CompleteMultipartUpload', signal, (options) => commit.send(command, options));
      // A 200 is sent before the work is done. An <Error> that follows it and ends in a newline is parsed to nothing.
      required(result.ETag || result.Location || result.Key || result.Bucket, 'CompleteMultipartUpload', 'a result');
      return { etag: result.ETag ?? '' };
    },

    async abortMultipartUpload(input, { signal } = {}) {
      const command = new AbortMultipartUploadCommand(addressed(input));
      try {
        await callStore('AbortMultipartUpload', signal, (options) => control.send(command, options));
      } catch (error) {
        if (error instanceof StoreError && error.kind === 'no_such_upload') return;
        throw error;
      }
    },
  };
}

function addressed({ bucket, key, storeUploadId }: MultipartAddress) {
  return { Bucket: bucket, Key: key, UploadId: storeUploadId };
}

/** What is at the key is not the object that was to be copied. */
function asAbsence(error: unknown): never {
  if (!(error instanceof StoreError) || error.kind !== 'precondition_failed') throw error;
  throw new StoreError('no_such_object', error.message, { cause: error });
}

/** The header is a path: its key is URL-encoded but for the slashes. */
function copySource({ bucket, key }: ObjectAddress): string {
  return `${bucket}/${key.split('/').map(encodeURIComponent).join('/')}`;
}

function required(value: string | undefined, call: string, what: string): string {
  if (value !== undefined && value !== '') return value;
  throw new StoreError('unavailable', `${call}: the store answered without ${what}`);
}
