import { z } from '@hono/zod-openapi';
import { UploadError } from '../../core/errors.ts';
import type { ObjectDigests } from '../../core/object-digests.ts';
import type { Upload } from '../../core/upload.ts';

/** What a client may say of its object when it opens a session. Members that change nothing here are passed over. */
const objectResource = z.looseObject({
  name: z.string().optional(),
  contentType: z.string().optional(),
  crc32c: z.string().optional(),
  metadata: z.record(z.string(), z.string()).optional(),
});

export type ObjectResource = z.infer<typeof objectResource>;

/** Members that can't be kept, and whose loss would do harm: readers would get other bytes, or less safety. */
const notKept = ['contentEncoding', 'kmsKeyName', 'md5Hash', 'retention', 'temporaryHold', 'eventBasedHold'];

/** @throws UploadError `invalid_request`, `unsupported` */
export function parseObjectResource(json: unknown): ObjectResource {
  const parsed = objectResource.safeParse(json);
  if (!parsed.success) {
    const [fault] = parsed.error.issues;
    throw new UploadError('invalid_request', `${fault?.path.join('.') || 'The object'}: ${fault?.message}.`);
  }
  const refused = notKept.find((name) => isSet(parsed.data[name]));
  if (refused === undefined) return parsed.data;
  throw new UploadError(
    'unsupported',
    refused === 'md5Hash'
      ? 'md5Hash cannot be checked before the object is made. Declare crc32c, or compare the answer.'
      : `${refused} is not kept by this gateway.`,
  );
}

function isSet(value: unknown): boolean {
  return value !== undefined && value !== null && value !== '' && value !== false;
}

/** The object resource of the JSON API, in which 64-bit numbers are strings. */
export function renderObject(upload: Upload, { crc32c, md5 }: ObjectDigests): Readonly<Record<string, unknown>> {
  const completedAt = upload.completedAt ?? upload.updatedAt;
  // As Google's are: microseconds. The store has none.
  const generation = String(completedAt.getTime() * 1000);
  const time = completedAt.toISOString();
  return {
    kind: 'storage#object',
    id: `${upload.bucket}/${upload.key}/${generation}`,
    name: upload.key,
    bucket: upload.bucket,
    generation,
    metageneration: '1',
    contentType: upload.contentType ?? 'application/octet-stream',
    storageClass: 'STANDARD',
    size: String(upload.sizeBytes),
    ...(md5 === undefined ? {} : { md5Hash: md5 }),
    ...(crc32c === undefined ? {} : { crc32c }),
    ...(upload.etag === undefined ? {} : { etag: upload.etag }),
    timeCreated: time,
    updated: time,
    timeStorageClassUpdated: time,
    ...(Object.keys(upload.metadata).length === 0 ? {} : { metadata: upload.metadata }),
  };
}
