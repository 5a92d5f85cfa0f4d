import { Readable } from 'node:stream';
import {
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  type GetObjectCommandOutput,
  HeadBucketCommand,
  HeadObjectCommand,
  type HeadObjectCommandOutput,
} from '@aws-sdk/client-s3';
import { type ObjectFacts, type ObjectStore, StoreError } from '../../core/object-store.ts';
import { callStore, callWithBody } from './call.ts';
import type { S3Clients } from './clients.ts';
import { kindOf } from './errors.ts';
import { decodeMetadata, encodeMetadata } from './metadata.ts';

type ObjectCalls = Pick<
  ObjectStore,
  'check' | 'putObject' | 'getObject' | 'headObject' | 'deleteObject' | 'deleteObjects'
>;

/** S3: DeleteObjects. */
const maxKeysPerDelete = 1000;

export function objectCalls({ data, puts, control }: S3Clients): ObjectCalls {
  return {
    async check(bucket, { signal } = {}) {
      const command = new HeadBucketCommand({ Bucket: bucket });
      try {
        await callStore(`HeadBucket ${bucket}`, signal, (options) => control.send(command, options));
      } catch (error) {
        if (!isNoSuchObject(error)) throw error;
        throw new StoreError('refused', `The store has no bucket ${bucket}.`, { cause: error });
      }
    },

    async putObject({ bucket, key, contentType, metadata = {}, ...input }, { signal } = {}) {
      const headers = {
        ...(contentType !== undefined && { 'content-type': contentType }),
        ...Object.fromEntries(
          Object.entries(encodeMetadata(metadata)).map(([name, value]) => [`x-amz-meta-${name}`, value]),
        ),
      };
      const etag = await callWithBody('PutObject', input, signal, (body, { abortSignal }) =>
        puts.send({ name: 'PutObject', bucket, key, headers, body, sizeBytes: input.sizeBytes }, abortSignal),
      );
      return { etag: etag ?? '' };
    },

    async getObject({ bucket, key, range }, { signal } = {}) {
      const command = new GetObjectCommand({
        Bucket: bucket,
        Key: key,
        ...(range && { Range: `bytes=${range.first}-${range.last}` }),
      });
      const answer = await callStore('GetObject', signal, (options) => data.send(command, options));
      return { ...factsOf(answer), sizeBytes: wholeSizeOf(answer), body: bodyOf(answer) };
    },

    async headObject({ bucket, key }, { signal } = {}) {
      const command = new HeadObjectCommand({ Bucket: bucket, Key: key });
      try {
        return factsOf(await callStore('HeadObject', signal, (options) => control.send(command, options)));
      } catch (error) {
        if (isNoSuchObject(error)) return undefined;
        throw error;
      }
    },

    async deleteObject({ bucket, key, etag }, { signal } = {}) {
      // Amazon S3 API Reference, DeleteObject: "If-Match … If the ETag value does not match … 412".
      const command = new DeleteObjectCommand({ Bucket: bucket, Key: key, IfMatch: etag });
      try {
        await callStore('DeleteObject', signal, (options) => control.send(command, options));
      } catch (error) {
        if (!isNoSuchObject(error)) throw error;
      }
    },

    async deleteObjects({ bucket, keys }, { signal } = {}) {
      for (let start = 0; start < keys.length; start += maxKeysPerDelete) {
        const batch = keys.slice(start, start + maxKeysPerDelete);
        const command = new DeleteObjectsCommand({
          Bucket: bucket,
          Delete: { Objects: batch.map((Key) => ({ Key })), Quiet: true },
        });
        const { Errors = [] } = await callStore('DeleteObjects', signal, (options) => control.send(command, options));
        for (const { Key, Code, Message } of Errors) {
          const kind = kindOf(Code, undefined);
          if (kind !== 'no_such_object') throw new StoreError(kind, `DeleteObjects: ${Key}: ${Message} (${Code})`);
        }
      }
    },
  };
}

function factsOf(answer: HeadObjectCommandOutput | GetObjectCommandOutput): ObjectFacts {
  return {
    sizeBytes: answer.ContentLength ?? 0,
    etag: answer.ETag ?? '',
    contentType: answer.ContentType,
    metadata: decodeMetadata(answer.Metadata),
    lastModified: answer.LastModified,
  };
}

/** RFC 9110, 14.4: `bytes first-last/complete-length`. */
function wholeSizeOf({ ContentRange, ContentLength = 0 }: GetObjectCommandOutput): number {
  const whole = ContentRange?.split('/')[1];
  return whole === undefined ? ContentLength : Number(whole);
}

function bodyOf({ Body }: GetObjectCommandOutput): Readable {
  if (Body instanceof Readable) return Body;
  throw new StoreError('unavailable', 'GetObject: the store answered without a body');
}

function isNoSuchObject(error: unknown): boolean {
  return error instanceof StoreError && error.kind === 'no_such_object';
}
