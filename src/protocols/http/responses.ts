import { z } from '@hono/zod-openapi';
import { type UploadErrorCode, uploadErrorCodes } from '../../core/errors.ts';
import type { ProblemTable } from './problem.ts';

export const problemBody = z
  .looseObject({
    type: z.string(),
    status: z.int(),
    title: z.string(),
    detail: z.string(),
    code: z.enum([...uploadErrorCodes, 'internal', 'not_found']),
    requestId: z.string(),
  })
  .openapi('Problem');

/** A JSON answer in the OpenAPI document. */
export function json<Schema extends z.ZodType>(schema: Schema, description: string) {
  return { description, content: { 'application/json': { schema } } };
}

export const problem = {
  description: 'A problem (RFC 9457), told apart by its code',
  content: { 'application/problem+json': { schema: problemBody } },
};

/** The problems that a route may answer with, by status. */
export function problemsOf(table: ProblemTable, codes: readonly UploadErrorCode[]): Record<string, typeof problem> {
  const statuses = new Set(codes.map((code) => table[code].status));
  const described = [...statuses].sort().map((status) => {
    const own = codes.filter((code) => table[code].status === status);
    const description = own.map((code) => `${table[code].title} (\`${code}\`)`).join('; ');
    return [String(status), { ...problem, description }] as const;
  });
  return { ...Object.fromEntries(described), default: problem };
}
