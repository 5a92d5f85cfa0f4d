import type { UploadRecords } from '../core/upload-records.ts';
import { endAttempts } from './claim-rows.ts';
import type { Connection } from './connection.ts';
import { inArray, sql } from './drizzle.ts';
import { isDue, isOutdated } from './due.ts';
import { toUpload } from './rows.ts';
import { uploads } from './schema.ts';
import { fromNow } from './time.ts';

const workOf = { completing: 'complete', creating: 'close_uncreated' } as const;

/** What the reaper looks for. Rows that another reaper has locked are passed over. */
export function reaperRows(connection: Connection): Pick<UploadRecords, 'claimDue' | 'deleteOutdated'> {
  return {
    claimDue: ({ claimId, leaseMs, limit }) =>
      connection.transaction(async (tx) => {
        const due = await tx
          .select({ id: uploads.id })
          .from(uploads)
          .where(isDue)
          // What was tried longest ago comes first: work that keeps failing must not starve the rest.
          .orderBy(uploads.updatedAt)
          .limit(limit)
          .for('update', { skipLocked: true });
        if (due.length === 0) return [];
        const ids = due.map(({ id }) => id);
        await endAttempts(tx, ...ids);
        const claimed = await tx
          .update(uploads)
          .set({
            claimId,
            claimUntil: fromNow(leaseMs),
            state: sql`case state when 'open' then 'aborting' else state end`,
            reason: sql`case state when 'open' then 'expired' else reason end`,
            updatedAt: sql`now()`,
          })
          .where(inArray(uploads.id, ids))
          .returning();
        return claimed.map((row) => ({
          work: row.state === 'completing' || row.state === 'creating' ? workOf[row.state] : 'abort',
          upload: toUpload(row),
        }));
      }),

    deleteOutdated: (limit) =>
      connection.run(async (db) => {
        const deleted = await db.execute(sql`
          delete from uploads where id in (
            select id from uploads where ${isOutdated} limit ${limit} for update skip locked)`);
        return deleted.rowCount ?? 0;
      }),
  };
}
