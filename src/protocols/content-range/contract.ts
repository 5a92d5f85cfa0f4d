import { z } from '@hono/zod-openapi';
import { uploadStates } from '../../core/upload.ts';

/* What this front answers, as it is written and as the OpenAPI document says it. */

const bytes = z.int().min(0);

const missingRangeBody = z
  .object({
    offset: bytes,
    size: bytes.optional().openapi({ description: 'Left out where the size of the whole is not known' }),
  })
  .openapi('MissingRange');

export const progressBody = z
  .object({
    id: z.string().openapi({ description: 'Of the upload: what any other call to it takes' }),
    state: z.enum(uploadStates),
    bucket: z.string(),
    key: z.string(),
    size: bytes.optional(),
    offset: bytes.openapi({ description: 'The end of the durable bytes that run from zero without a gap' }),
    receivedBytes: bytes.openapi({ description: 'All durable bytes' }),
    conflicted: z.literal(true).optional().openapi({
      description: 'Bytes came that differ from the stored ones: the upload no longer completes by itself',
    }),
    missing: z.array(missingRangeBody).openapi({ description: 'The first hundred at most' }),
    etag: z.string().optional().openapi({ description: "The object's, once it is there" }),
  })
  .openapi('Progress');

export type ProgressJson = z.infer<typeof progressBody>;
