import type { z } from '@hono/zod-openapi';
import { problemBody } from './contract.ts';

/** A JSON answer in the OpenAPI document. */
export function json<Schema extends z.ZodType>(schema: Schema, description: string) {
  return { description, content: { 'application/json': { schema } } };
}

export const problem = {
  description: 'A problem (RFC 9457), told apart by its code',
  content: { 'application/problem+json': { schema: problemBody } },
};
