import { UploadError } from '../core/errors.ts';
import type { UploadFilter, UploadRecords } from '../core/upload-records.ts';
import type { Connection } from './connection.ts';
import { and, desc, eq, lt, ne, or, type SQL, sql } from './drizzle.ts';
import { layoutColumns, toUpload } from './rows.ts';
import { uploads } from './schema.ts';
import { fromNow } from './time.ts';

/** Creating, finding and listing uploads. */
export function uploadRows(
  connection: Connection,
): Pick<UploadRecords, 'insert' | 'open' | 'closeUncreated' | 'find' | 'list'> {
  return {
    insert: (upload) =>
      connection.run(async (db) => {
        const { id, tenant, protocol, bucket, key, storeKey, token, contentType, metadata, ifNoneMatch } = upload;
        const [inserted] = await db
          .insert(uploads)
          .values({
            ...{ id, tenant, protocol, bucket, key, storeKey, token, contentType, metadata, ifNoneMatch },
            state: 'creating',
            size: upload.sizeBytes,
            ...layoutColumns(upload.layout),
            selfCompleting: upload.isSelfCompleting,
            sessionHash: upload.sessionHash,
            front: upload.front,
            ...(upload.sources && { sources: [...upload.sources], workDue: fromNow(upload.leaseMs) }),
            digestAlgorithm: upload.digest?.algorithm,
            digestValue: upload.digest?.value,
            idempotencyKey: upload.idempotency?.key,
            idempotencyHash: upload.idempotency?.requestHash,
            claimUntil: fromNow(upload.leaseMs),
            expiresAt: fromNow(upload.lifetimeMs),
          })
          .onConflictDoNothing({ target: [uploads.tenant, uploads.idempotencyKey] })
          .returning();
        if (inserted !== undefined) return { kind: 'inserted', upload: toUpload(inserted) };
        const [existing] = await db
          .select()
          .from(uploads)
          .where(and(eq(uploads.tenant, tenant), eq(uploads.idempotencyKey, upload.idempotency?.key ?? '')));
        if (existing === undefined) {
          // The earlier creation failed between the two statements, and freed the key.
          throw new UploadError('records_unavailable', 'Try again.', { retryAfterSeconds: 1 });
        }
        return { kind: 'existing', upload: toUpload(existing), requestHash: existing.idempotencyHash ?? '' };
      }),

    open: ({ id, storeUploadId, keepsMs }) =>
      connection.run(async (db) => {
        const [row] = await db
          .update(uploads)
          .set({
            state: 'open',
            storeUploadId,
            claimUntil: null,
            updatedAt: sql`now()`,
            ...(keepsMs === undefined ? {} : { expiresAt: sql`least(${uploads.expiresAt}, ${fromNow(keepsMs)})` }),
          })
          .where(and(eq(uploads.id, id), eq(uploads.state, 'creating')))
          .returning();
        return row && toUpload(row);
      }),

    closeUncreated: (id) =>
      connection.run(async (db) => {
        await db
          .update(uploads)
          .set({
            state: 'aborted',
            reason: 'not_created',
            idempotencyKey: null,
            claimId: null,
            claimUntil: null,
            updatedAt: sql`now()`,
          })
          .where(and(eq(uploads.id, id), eq(uploads.state, 'creating')));
      }),

    find: (tenant, id) =>
      connection.run(async (db) => {
        const [row] = await db
          .select()
          .from(uploads)
          .where(and(eq(uploads.id, id), eq(uploads.tenant, tenant)));
        return row && toUpload(row);
      }),

    list: (filter, { after, limit }) =>
      connection.run(async (db) => {
        const micros = sql<string>`(extract(epoch from ${uploads.createdAt}) * 1000000)::bigint`;
        const rows = await db
          .select({ row: uploads, micros })
          .from(uploads)
          .where(
            and(
              ...filterConditions(filter),
              after &&
                or(
                  lt(uploads.createdAt, instantOf(after.createdAtMicros)),
                  and(eq(uploads.createdAt, instantOf(after.createdAtMicros)), lt(uploads.id, after.id)),
                ),
            ),
          )
          .orderBy(desc(uploads.createdAt), desc(uploads.id))
          .limit(limit + 1);
        const last = rows.length > limit ? rows[limit - 1] : undefined;
        return {
          uploads: rows.slice(0, limit).map(({ row }) => toUpload(row)),
          next: last && { createdAtMicros: Number(last.micros), id: last.row.id },
        };
      }),
  };
}

function instantOf(micros: number): SQL<Date> {
  return sql<Date>`(timestamptz 'epoch' + ${micros}::bigint * interval '1 microsecond')`;
}

function filterConditions(filter: UploadFilter): (SQL | undefined)[] {
  return [
    eq(uploads.tenant, filter.tenant),
    filter.state ? eq(uploads.state, filter.state) : ne(uploads.state, 'creating'),
    filter.bucket === undefined ? undefined : eq(uploads.bucket, filter.bucket),
    filter.keyPrefix ? sql`starts_with(${uploads.key}, ${filter.keyPrefix})` : undefined,
    filter.grantedBucket === undefined ? undefined : eq(uploads.bucket, filter.grantedBucket),
    filter.grantedKeyPrefix ? sql`starts_with(${uploads.key}, ${filter.grantedKeyPrefix})` : undefined,
  ];
}
