import type { NameRecords } from '../core/name-records.ts';
import type { Connection } from './connection.ts';
import { and, desc, eq, isNull, sql } from './drizzle.ts';
import { toUpload } from './rows.ts';
import { completionHolds, uploads } from './schema.ts';
import { fromNow } from './time.ts';

/** Uploads by name or session. */
export function nameRows(connection: Connection): NameRecords {
  return {
    findByName: ({ tenant, bucket, storeKey, protocol, sessionHash, limit }) =>
      connection.run(async (db) => {
        const rows = await db
          .select()
          .from(uploads)
          .where(
            and(
              eq(uploads.bucket, bucket),
              eq(uploads.storeKey, storeKey),
              eq(uploads.tenant, tenant),
              eq(uploads.protocol, protocol),
              sessionHash === undefined ? isNull(uploads.sessionHash) : eq(uploads.sessionHash, sessionHash),
            ),
          )
          .orderBy(desc(uploads.createdAt))
          .limit(limit);
        return rows.map(toUpload);
      }),

    holdCompletion: ({ uploadId, forMs }) =>
      connection.run(async (db) => {
        await db.execute(sql`
          insert into ${completionHolds} (upload_id, until)
            select id, ${fromNow(forMs)} from ${uploads} where id = ${uploadId}
            on conflict (upload_id) do update set until = greatest(completion_holds.until, excluded.until)`);
      }),

    findBySession: (sessionHash) =>
      connection.run(async (db) => {
        const [row] = await db.select().from(uploads).where(eq(uploads.sessionHash, sessionHash)).limit(1);
        return row && toUpload(row);
      }),
  };
}
