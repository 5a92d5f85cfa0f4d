import type { Upload } from '../core/upload.ts';
import type { AdoptedPart, UploadRecords } from '../core/upload-records.ts';
import type { Connection, Db } from './connection.ts';
import { and, asc, eq, gt, inArray, isNotNull, sql } from './drizzle.ts';
import { toPart, toUpload } from './rows.ts';
import { parts, uploads } from './schema.ts';

type UploadRow = typeof uploads.$inferSelect;
const commitPart = `select outcome, (upload)."offset"
  from partway_commit_part($1, $2, $3, $4, $5, $6, $7, $8, null, null, false, null, null)`;

/** What the function of the migration answers. */
type Outcome = 'committed' | 'displaced' | 'size_conflict' | 'not_open';

/** Durable parts, and the counters on the upload that every change of them moves in the same transaction. */
export function partRows(
  connection: Connection,
): Pick<UploadRecords, 'listParts' | 'commitPart' | 'adoptParts' | 'markSigned'> {
  return {
    listParts: (uploadId, { after, limit }) =>
      connection.run(async (db) => {
        const rows = await db
          .select()
          .from(parts)
          .where(and(eq(parts.uploadId, uploadId), gt(parts.partNumber, after), isNotNull(parts.etag)))
          .orderBy(asc(parts.partNumber))
          .limit(limit);
        return rows.map(toPart).filter((part) => part !== undefined);
      }),

    commitPart: async ({ uploadId, attemptId, part, fixesSize }) => {
      const { outcome, offset } = await connection.call('commit_part', commitPart, [
        ...[uploadId, part.partNumber, attemptId, part.offset ?? null, part.sizeBytes, part.etag],
        ...[JSON.stringify(part.digests), fixesSize],
      ]);
      const kind = outcome as Outcome;
      return kind === 'committed' ? { kind, offset: Number(offset) } : { kind };
    },

    adoptParts: async ({ uploadId, parts: adopted, fixesSizeBytes }) => {
      try {
        return await connection.transaction(async (tx) => {
          const upload = await lockUpload(tx, uploadId);
          if (upload?.state !== 'open') return { kind: 'not_open' };
          if (upload.size !== null && fixesSizeBytes !== undefined && upload.size !== fixesSizeBytes) {
            return { kind: 'size_conflict' };
          }
          if (await isUnderWay(tx, uploadId, adopted)) return { kind: 'busy' };
          await adopt(tx, uploadId, adopted);
          return { kind: 'adopted', upload: await recount(tx, upload, upload.size ?? fixesSizeBytes ?? null) };
        });
      } catch (error) {
        if (error instanceof BeyondSize) return { kind: 'size_conflict' };
        throw error;
      }
    },

    markSigned: (uploadId) =>
      connection.run(async (db) => {
        const marked = await db
          .update(uploads)
          .set({ signed: true, updatedAt: sql`now()` })
          .where(and(eq(uploads.id, uploadId), eq(uploads.state, 'open')))
          .returning({ id: uploads.id });
        return marked.length === 1;
      }),
  };
}

/** Whether a live attempt has the slot of one of them. None begins while the upload is locked. */
async function isUnderWay(tx: Db, uploadId: string, adopted: readonly AdoptedPart[]): Promise<boolean> {
  const numbers = adopted.map(({ partNumber }) => partNumber);
  const [live] = await tx
    .select({ partNumber: parts.partNumber })
    .from(parts)
    .where(
      and(
        eq(parts.uploadId, uploadId),
        inArray(parts.partNumber, numbers),
        isNotNull(parts.attemptId),
        sql`${parts.attemptUntil} > now()`,
      ),
    )
    .limit(1);
  return live !== undefined;
}

/** Leaves what was stored through us since the store was asked, and what is on record already. Ends dead attempts. */
async function adopt(tx: Db, uploadId: string, adopted: readonly AdoptedPart[]): Promise<void> {
  const rows = adopted.map(({ partNumber, offset, sizeBytes, etag, digests, replacesEtag }) => ({
    ...{ part_number: partNumber, offset, size: sizeBytes, etag, digests, replaces: replacesEtag },
  }));
  await tx.execute(sql`
    insert into parts (upload_id, part_number, "offset", size, etag, digests, stored_at)
    select ${uploadId}, x.part_number, x."offset", x.size, x.etag, x.digests, now()
      from jsonb_to_recordset(${JSON.stringify(rows)}::jsonb)
        as x(part_number integer, "offset" bigint, size bigint, etag text, digests jsonb, replaces text)
      left join parts p on p.upload_id = ${uploadId} and p.part_number = x.part_number
      where p.etag is not distinct from x.replaces and p.etag is distinct from x.etag
    on conflict (upload_id, part_number) do update
      set "offset" = excluded."offset", size = excluded.size, etag = excluded.etag, digests = excluded.digests, runs = null,
          stored_at = now(), doubtful = parts.doubtful or parts.attempt_id is not null,
          attempt_id = null, attempt_until = null, attempt_yields = false`);
  await tx.execute(sql`
    update fragments f set state = 'retired', lease_until = now() + interval '1 minute'
      from parts p
      where f.upload_id = ${uploadId} and f.state = 'durable'
        and p.upload_id = f.upload_id and p.part_number = f.part_number and p.etag is not null`);
}

/** Takes parts out of the record and moves the counters back. */
export async function forgetParts(tx: Db, upload: UploadRow, partNumbers: readonly number[]): Promise<void> {
  await tx
    .update(parts)
    .set({ etag: null, size: null, digests: {}, runs: null, storedAt: null })
    .where(and(eq(parts.uploadId, upload.id), inArray(parts.partNumber, [...partNumbers])));
  await recount(tx, upload, upload.size);
}

/** Commits of one upload are serial from here on. */
export async function lockUpload(tx: Db, id: string): Promise<UploadRow | undefined> {
  const [row] = await tx.select().from(uploads).where(eq(uploads.id, id)).for('update');
  return row;
}

/** More bytes are durable than the upload has. Carries out of the transaction, which is rolled back. */
class BeyondSize extends Error {}

/** The counters from the parts themselves: after many changed at once. */
async function recount(tx: Db, { id, layout }: UploadRow, sizeBytes: number | null): Promise<Upload> {
  const { rows } = await tx.execute<{ contiguous: number; offset: string; received: string; reach: string }>(sql`
    with d as (select part_number, "offset", size, row_number() over (order by part_number) as rank
                 from parts where upload_id = ${id} and etag is not null),
         f as (select "offset", size from fragments where upload_id = ${id} and state = 'durable'),
         counted as (select (count(*) filter (where part_number = rank))::integer as contiguous,
                            coalesce(sum(size) filter (where part_number = rank), 0) as offset,
                            coalesce(sum(size), 0) + (select coalesce(sum(size), 0) from f) as received,
                            greatest(max("offset" + size), (select max("offset" + size) from f), 0) as reach
                       from d)
    select contiguous, received, reach,
           case when ${layout === 'planned'} then partway_advance(${id}, "offset"::bigint, "offset"::bigint, "offset"::bigint)
                else "offset" end as offset
      from counted`);
  const counted = rows[0] ?? { contiguous: 0, offset: '0', received: '0', reach: '0' };
  const receivedBytes = Number(counted.received);
  const reach = layout === 'planned' ? Number(counted.reach) : receivedBytes;
  if (sizeBytes !== null && reach > sizeBytes) throw new BeyondSize();
  const [row] = await tx
    .update(uploads)
    .set({
      contiguousParts: counted.contiguous,
      offset: Number(counted.offset),
      receivedBytes,
      size: sizeBytes,
      updatedAt: sql`now()`,
    })
    .where(eq(uploads.id, id))
    .returning();
  if (row === undefined) throw new Error('records: a locked upload vanished');
  return toUpload(row);
}
