import { z } from '@hono/zod-openapi';
import { longestSignatureSeconds, mostSignedAtOnce } from '../../core/sign.ts';
import { abortReasons, protocols, uploadStates } from '../../core/upload.ts';
import type { problemBody } from '../http/responses.ts';

/* Every schema of the native REST protocol: what is parsed, what is answered, what the OpenAPI document says. */

const bytes = z.int().min(0);
const partNumber = z.int().min(1);
const instant = z.iso.datetime().openapi({ description: 'RFC 3339, UTC' });
const digestField = z.string().min(1).max(1024).openapi({
  description: 'The field value of RFC 9530',
  example: 'crc32=:y/Q5Jg==:',
});

export const createBody = z
  .strictObject({
    key: z.string().min(1).max(4096).optional().openapi({
      description: "The object's key. Without it the gateway's key template names the object.",
      example: 'backups/db-2026-11-23.tar.zst',
    }),
    bucket: z.string().optional().openapi({ description: 'One that the gateway allows; its default otherwise' }),
    size: bytes.optional().openapi({ description: 'Bytes of the whole, where they are known' }),
    layout: z.enum(['planned', 'free']).optional().openapi({
      description: "planned (the default): every part's range is known. free: the client chooses each part's size.",
    }),
    partSize: z
      .int()
      .min(1)
      .optional()
      .openapi({ description: 'Bytes of each part but the last; chosen for you otherwise' }),
    contentType: z
      .string()
      .regex(/^[\x21-\x7e]+(;[\x20-\x7e]*)?$/, 'must be a media type')
      .max(255)
      .optional()
      .openapi({ example: 'application/zstd' }),
    metadata: z
      .record(z.string(), z.string())
      .optional()
      .openapi({ description: '1,992 bytes at most as headers: x-amz-meta-, name and value of each' }),
    digest: digestField.optional().openapi({
      description: 'The CRC-32 or CRC-32C of the whole; checked before the upload completes',
    }),
    ifNoneMatch: z.literal('*').optional().openapi({ description: 'Complete only if nothing is at the key' }),
    expiresIn: z.int().min(1).max(315_360_000).optional().openapi({ description: 'Seconds' }),
  })
  .openapi('CreateUpload');

export const uploadBody = z
  .object({
    id: z.string(),
    state: z.enum(uploadStates),
    reason: z.enum(abortReasons).optional(),
    bucket: z.string(),
    key: z.string(),
    size: bytes.optional(),
    offset: bytes.openapi({ description: 'The end of the durable bytes that run from zero without a gap' }),
    receivedBytes: bytes.openapi({ description: 'All durable bytes' }),
    conflicted: z.literal(true).optional().openapi({
      description: 'Bytes came that differ from the stored ones: the upload no longer completes by itself',
    }),
    layout: z.enum(['planned', 'free']),
    partSize: bytes.optional().openapi({
      description: 'Bytes of each part but the last; where growEvery is there, of the first so many',
    }),
    growEvery: z.int().optional().openapi({
      description: 'With an unknown size: after each so many parts their size doubles, up to maxPartSize',
    }),
    maxPartSize: bytes.optional(),
    partCount: z.int().optional(),
    contentType: z.string().optional(),
    metadata: z.record(z.string(), z.string()),
    digest: digestField.optional(),
    signedChecksum: z.enum(['crc32', 'md5']).optional().openapi({
      description: 'The cheapest checksum by which a signed URL pins its part; absent where no URLs are signed',
    }),
    etag: z.string().optional(),
    location: z.string().optional(),
    createdAt: instant,
    updatedAt: instant,
    expiresAt: instant,
    completedAt: instant.optional(),
    protocol: z.enum(protocols),
  })
  .openapi('Upload');

export const uploadListBody = z
  .object({ uploads: z.array(uploadBody), nextCursor: z.string().optional() })
  .openapi('UploadList');

export const partBody = z
  .object({
    partNumber,
    offset: bytes.optional(),
    size: bytes,
    etag: z.string(),
    checksum: digestField.optional(),
  })
  .openapi('Part');

export const missingPartBody = z
  .object({ partNumber, offset: bytes.optional(), size: bytes.optional() })
  .openapi('MissingPart');

export const partListBody = z
  .object({
    parts: z.array(partBody),
    missing: z.array(missingPartBody),
    nextAfter: z.int().optional().openapi({ description: 'Ask again with after= this for the rest' }),
  })
  .openapi('PartList');

export const signBody = z
  .strictObject({
    partNumbers: z.union([
      z.array(partNumber).min(1).max(mostSignedAtOnce),
      z.strictObject({ from: partNumber, to: partNumber }),
    ]),
    expiresIn: z
      .int()
      .min(1)
      .max(longestSignatureSeconds)
      .optional()
      .openapi({ description: 'Seconds; an hour by default' }),
    checksums: z
      .record(z.string().regex(/^[1-9]\d*$/), digestField)
      .optional()
      .openapi({
        description: 'MD5 by part number, or CRC-32 where signedChecksum says so: the URL then takes no other content',
      }),
  })
  .openapi('SignParts');

export const signedPartsBody = z
  .object({
    parts: z.array(
      z.object({
        partNumber,
        offset: bytes.optional(),
        size: bytes.optional(),
        url: z.string(),
        headers: z.record(z.string(), z.string()).openapi({ description: 'To be sent with the PUT' }),
        expiresAt: instant,
      }),
    ),
  })
  .openapi('SignedParts');

const namedPart = z.strictObject({ partNumber, etag: z.string().min(1).max(1024) });

export const reportBody = z
  .strictObject({
    parts: z
      .array(namedPart.extend({ size: bytes.optional(), checksum: digestField.optional() }))
      .min(1)
      .max(10_000),
  })
  .openapi('ReportParts');

export const completeBody = z
  .strictObject({
    parts: z.array(namedPart).max(10_000).optional().openapi({ description: 'Checked against the record' }),
    size: bytes.optional(),
    digest: digestField.optional(),
  })
  .openapi('CompleteUpload');

/** A whole number in a query or path. */
const digits = (least: number, most: number) =>
  z
    .string()
    .regex(/^\d{1,15}$/, 'must be a whole number')
    .transform(Number)
    .pipe(z.int().min(least).max(most));

export const uploadPath = z.object({ id: z.string().openapi({ param: { name: 'id', in: 'path' } }) });
export const partPath = uploadPath.extend({
  partNumber: digits(1, 999_999_999_999_999).openapi({
    param: { name: 'partNumber', in: 'path' },
    type: 'integer',
    minimum: 1,
    maximum: 10_000,
  }),
});

const page = (most: number, usual: number) =>
  digits(1, most).default(usual).openapi({ type: 'integer', minimum: 1, maximum: most, default: usual });

const plainText = z.string().regex(/^\P{Cc}*$/u, 'must not contain control characters');

export const listQuery = z.object({
  state: z.enum(uploadStates).optional(),
  prefix: plainText.optional(),
  bucket: plainText.optional(),
  limit: page(1000, 100),
  cursor: z.string().optional(),
});

export const partsQuery = z.object({
  after: digits(0, 100_000).default(0).openapi({ type: 'integer', minimum: 0, default: 0 }),
  limit: page(10_000, 1000),
});

export type CreateJson = z.infer<typeof createBody>;
export type UploadJson = z.infer<typeof uploadBody>;
export type UploadListJson = z.infer<typeof uploadListBody>;
export type PartJson = z.infer<typeof partBody>;
export type MissingPartJson = z.infer<typeof missingPartBody>;
export type PartListJson = z.infer<typeof partListBody>;
export type SignJson = z.infer<typeof signBody>;
export type SignedPartsJson = z.infer<typeof signedPartsBody>;
export type ReportJson = z.infer<typeof reportBody>;
export type CompleteJson = z.infer<typeof completeBody>;
export type ProblemJson = z.infer<typeof problemBody>;
