import { createRequire } from 'node:module';

/*
 * By `require`, because drizzle-orm's package.json has 180 KB of exports, and Node's loader of ES modules makes a
 * copy of them for each of drizzle's hundred files: 200 MB and half a second at every start.
 */
const require = createRequire(import.meta.url);

export const { and, asc, desc, eq, getTableColumns, gt, inArray, isNotNull, isNull, lt, ne, or, sql } =
  require('drizzle-orm') as typeof import('drizzle-orm');
export const { DrizzleQueryError } = require('drizzle-orm/errors') as typeof import('drizzle-orm/errors');
export const { drizzle } = require('drizzle-orm/node-postgres') as typeof import('drizzle-orm/node-postgres');
export const { migrate } =
  require('drizzle-orm/node-postgres/migrator') as typeof import('drizzle-orm/node-postgres/migrator');
export const {
  bigint,
  boolean,
  check,
  customType,
  index,
  integer,
  jsonb,
  pgTable,
  primaryKey,
  text,
  timestamp,
  uniqueIndex,
} = require('drizzle-orm/pg-core') as typeof import('drizzle-orm/pg-core');

export type { Placeholder, SQL } from 'drizzle-orm';
export type { NodePgDatabase } from 'drizzle-orm/node-postgres';
