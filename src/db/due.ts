import type { Connection } from './connection.ts';
import { type SQL, sql } from './drizzle.ts';

/*
 * What is due, by the rows alone. The reaper takes what it finds by these conditions, and who only wants to know counts by
 * them.
 */

/** Claims and creations that ran out, and open uploads past their time. */
export const isDue = sql`((state in ('creating', 'completing', 'aborting') and claim_until <= now())
  or (state = 'open' and expires_at <= now()))`;
/** Covered slots or all bytes, and nobody who goes on with them. */
export const hasWork = sql`(state = 'open' and work_due < now())`;
/** Ended, looked at long enough, and with nothing left at the store. */
export const isOutdated = sql`(state in ('completed', 'aborted', 'deleted') and expires_at <= now()
  and not exists (select from fragments where upload_id = uploads.id))`;
/** Of fragments: whoever sent them died. */
export const isAbandoned = sql`(state in ('pending', 'expected') and lease_until <= now())`;
/** One that is an upload's whole object stays for as long as an upload is to be put together of it. */
export const isDeletable = sql`(state = 'retired' and lease_until <= now() and not (
  fragments.id = upload_id and exists (select from uploads u
    where u.sources @> array[fragments.upload_id] and u.state in ('creating', 'open', 'completing'))))`;

export interface DueWork {
  readonly uploadsToClose: number;
  readonly uploadsToComplete: number;
  readonly uploadsToAbort: number;
  readonly uploadsToExpire: number;
  readonly uploadsToGoOnWith: number;
  readonly uploadsToForget: number;
  readonly fragmentsToRetire: number;
  readonly fragmentsToDelete: number;
}

/** Counts what is due now and changes nothing. */
export async function countDue(connection: Connection): Promise<DueWork> {
  const due = (state: string) => sql`count(*) filter (where ${isDue} and state = ${state})::int`;
  const count = (condition: SQL) => sql`count(*) filter (where ${condition})::int`;
  return connection.run(async (db) => {
    const { rows } = await db.execute<Record<keyof DueWork, number>>(sql`
      select ${due('creating')} as "uploadsToClose", ${due('completing')} as "uploadsToComplete",
             ${due('aborting')} as "uploadsToAbort", ${due('open')} as "uploadsToExpire",
             ${count(sql`${hasWork} and not ${isDue}`)} as "uploadsToGoOnWith", ${count(isOutdated)} as "uploadsToForget",
             (select ${count(isAbandoned)} from fragments) as "fragmentsToRetire",
             (select ${count(isDeletable)} from fragments) as "fragmentsToDelete"
        from uploads`);
    const [row] = rows;
    if (row === undefined) throw new Error('a count without a row');
    return row;
  });
}
