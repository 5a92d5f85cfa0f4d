import type { RangeRecords } from '../core/range-records.ts';
import type { Connection } from './connection.ts';
import { and, eq, inArray, sql } from './drizzle.ts';
import { hasWork, isAbandoned, isDeletable } from './due.ts';
import { toUpload } from './rows.ts';
import { fragments, uploads } from './schema.ts';
import { fromNow, settleMs } from './time.ts';

export type WorkRows = Pick<
  RangeRecords,
  'forgetFragments' | 'retireAbandoned' | 'claimRetired' | 'claimWork' | 'postponeWork' | 'awaitSources' | 'endWork'
>;

/** What is left to do when the request that brought the bytes has been answered, or died. */
export function workRows(connection: Connection): WorkRows {
  return {
    forgetFragments: (ids) =>
      connection.run(async (db) => {
        if (ids.length === 0) return;
        await db.delete(fragments).where(and(inArray(fragments.id, [...ids]), eq(fragments.state, 'retired')));
      }),

    retireAbandoned: (limit) =>
      connection.run(async (db) => {
        const { rowCount } = await db.execute(sql`
          update fragments set state = 'retired', lease_until = ${fromNow(settleMs)}
            where id in (select id from fragments where ${isAbandoned} limit ${limit} for update skip locked)`);
        return rowCount ?? 0;
      }),

    claimRetired: ({ leaseMs, limit }) =>
      connection.run(async (db) => {
        const { rows } = await db.execute<{ id: string; staging_key: string; bucket: string }>(sql`
          update fragments f set lease_until = ${fromNow(leaseMs)}
            from uploads u
            where u.id = f.upload_id and f.id in (
              select id from fragments where ${isDeletable} limit ${limit} for update skip locked)
            returning f.id, f.staging_key, u.bucket`);
        return rows.map(({ id, staging_key, bucket }) => ({ id, stagingKey: staging_key, bucket }));
      }),

    claimWork: ({ leaseMs, limit }) =>
      connection.run(async (db) => {
        const due = db
          .select({ id: uploads.id })
          .from(uploads)
          .where(hasWork)
          .orderBy(uploads.workDue)
          .limit(limit)
          .for('update', { skipLocked: true });
        const rows = await db
          .update(uploads)
          .set({ workDue: fromNow(leaseMs) })
          .where(inArray(uploads.id, due))
          .returning();
        return rows.map(toUpload);
      }),

    postponeWork: ({ uploadId, forMs }) =>
      connection.run(async (db) => {
        await db
          .update(uploads)
          .set({ workDue: fromNow(forMs) })
          .where(and(eq(uploads.id, uploadId), eq(uploads.state, 'open')));
      }),

    awaitSources: (uploadId) =>
      connection.run(async (db) => {
        // Locked, so that one which is just ending is seen as ended, or finds this row when it wakes those that wait.
        await db.execute(sql`
          with sources as (
            select state from uploads where id in (select unnest(sources) from uploads where id = ${uploadId}) for share
          ), found as (
            select bool_or(state in ('open', 'completing')) and bool_and(state in ('open', 'completing', 'completed'))
                     as waits
              from sources
          )
          update uploads set work_due = case when found.waits then null else now() end
            from found where id = ${uploadId} and state = 'open'`);
      }),

    endWork: (upload) =>
      connection.run(async (db) => {
        await db
          .update(uploads)
          .set({ workDue: null })
          // Bytes that came meanwhile are work of their own.
          .where(and(eq(uploads.id, upload.id), eq(uploads.receivedBytes, upload.receivedBytes)));
      }),
  };
}
