import type { AttemptAddress, UploadRecords } from '../core/upload-records.ts';
import { coalesced } from './coalesced.ts';
import type { Connection, Db } from './connection.ts';
import { and, eq, sql } from './drizzle.ts';
import { notify } from './news.ts';
import { toPart, toUpload } from './rows.ts';
import { parts, uploads } from './schema.ts';
import { fromNow } from './time.ts';

type BeginInput = Parameters<UploadRecords['beginAttempt']>[0];

/** The leases of slots. A lease is the part's row itself. */
export function attemptRows(
  connection: Connection,
): Pick<
  UploadRecords,
  'beginAttempt' | 'endDeadLeases' | 'askToYield' | 'askOlderToYield' | 'renewAttempt' | 'dropAttempt'
> {
  let begin: ReturnType<typeof beginStatement> | undefined;
  return {
    beginAttempt: (input) =>
      connection.run(async (db) => {
        begin ??= beginStatement(db);
        const [found] = await begin.execute({ ...input });
        if (found === undefined) return { kind: 'not_found' };
        const upload = toUpload(found.upload);
        if (found.begun) return { kind: 'begun', upload, part: found.slot === null ? undefined : toPart(found.slot) };
        if (upload.state !== 'open') return { kind: 'not_open', upload };
        return { upload, ...(await findOccupant(db, input)) };
      }),

    endDeadLeases: async (uploadId) => {
      const { ended } = await connection.call('end_dead_leases', 'select partway_end_dead_leases($1) as ended', [
        uploadId,
      ]);
      return ended === true;
    },

    askToYield: (attempt) =>
      connection.run(async (db) => {
        await db.execute(sql`
          with asked as (update parts set attempt_yields = true where ${isAttempt(attempt)} returning attempt_id)
          select ${notify('yield', attempt.attemptId)}`);
      }),

    askOlderToYield: ({ uploadId, partNumber, attemptId, ageMs }) =>
      connection.run(async (db) => {
        await db.execute(sql`
          with older as (
            select attempt_id from parts
              where upload_id = ${uploadId} and part_number = ${partNumber} and attempt_id = ${attemptId}
                and attempt_since < ${fromNow(-ageMs)}
            union all
            select attempt_id from fragments
              where upload_id = ${uploadId} and part_number = ${partNumber} and attempt_id = ${attemptId}
                and created_at < ${fromNow(-ageMs)}
          ), asked as (
            update parts set attempt_yields = true
              where upload_id = ${uploadId} and part_number = ${partNumber} and attempt_id in (select attempt_id from older)
          )
          select ${notify('yield', sql`attempt_id`)} from older`);
      }),

    renewAttempt: coalesced(async (inputs) => {
      const rows = await connection.rows('renew_attempts', renewAttempts, [
        inputs.map(({ uploadId }) => uploadId),
        inputs.map(({ partNumber }) => partNumber),
        inputs.map(({ attemptId }) => attemptId),
        inputs.map(({ leaseMs }) => leaseMs),
      ]);
      const renewed = new Map(rows.map(({ attempt_id, attempt_yields }) => [attempt_id, attempt_yields]));
      return inputs.map(({ attemptId }) => {
        const yields = renewed.get(attemptId);
        if (yields === undefined) return 'lost';
        return yields ? 'yield' : 'held';
      });
    }),

    dropAttempt: ({ uncertain, ...attempt }) =>
      connection.run(async (db) => {
        await db
          .update(parts)
          .set({
            attemptId: null,
            attemptUntil: null,
            attemptYields: false,
            ...(uncertain ? { doubtful: true } : {}),
          })
          .where(isAttempt(attempt));
      }),
  };
}

const renewAttempts = `
  with held as (
    select p.upload_id, p.part_number, w.lease_ms
      from unnest($1::text[], $2::integer[], $3::text[], $4::float8[]) as w (upload_id, part_number, attempt_id, lease_ms)
        join uploads u on u.id = w.upload_id and u.state = 'open'
        join parts p on p.upload_id = w.upload_id and p.part_number = w.part_number and p.attempt_id = w.attempt_id
      -- In one order, so that no two who lock several wait for each other.
      order by p.upload_id, p.part_number
      for update of p
  )
  update parts p set attempt_until = now() + held.lease_ms * interval '1 millisecond'
    from held
    where p.upload_id = held.upload_id and p.part_number = held.part_number
    returning p.attempt_id, p.attempt_yields`;

/** Made once: drizzle takes longer to write it than Postgres to run it. */
function beginStatement(db: Db) {
  const begun = db.$with('begun').as(insertLease(db));
  return db
    .with(begun)
    .select({
      upload: uploads,
      begun: sql<boolean>`${begun.attemptId} is not null`,
      slot: {
        partNumber: begun.partNumber,
        offset: begun.offset,
        size: begun.size,
        etag: begun.etag,
        digests: begun.digests,
        doubtful: begun.doubtful,
      },
    })
    .from(uploads)
    .leftJoin(begun, eq(begun.uploadId, uploads.id))
    .where(and(eq(uploads.id, value('uploadId')), eq(uploads.tenant, value('tenant'))))
    .prepare('begin_attempt');
}

/** A lease that ran out belongs to a process that died or lost the records: what it sent may still land. */
function insertLease(db: Db) {
  return db
    .insert(parts)
    .select((query) =>
      query
        .select({
          uploadId: uploads.id,
          partNumber: sql<number>`${value('partNumber')}::integer`.as('part_number'),
          offset: sql<null>`null::bigint`.as('offset'),
          size: sql<null>`null::bigint`.as('size'),
          etag: sql<null>`null::text`.as('etag'),
          digests: sql<Record<string, string>>`'{}'::jsonb`.as('digests'),
          storedAt: sql<null>`null::timestamptz`.as('stored_at'),
          attemptId: sql<string>`${value('attemptId')}::text`.as('attempt_id'),
          attemptUntil: fromNow(value('leaseMs')).as('attempt_until'),
          attemptSince: sql<Date>`now()`.as('attempt_since'),
          attemptYields: sql<boolean>`false`.as('attempt_yields'),
          runs: sql<null>`null::jsonb`.as('runs'),
          doubtful: sql<boolean>`false`.as('doubtful'),
        })
        .from(uploads)
        .where(and(eq(uploads.id, value('uploadId')), eq(uploads.tenant, value('tenant')), eq(uploads.state, 'open')))
        // A claim or an abort that is being made is waited for, and then sees this lease or ends it.
        .for('key share'),
    )
    .onConflictDoUpdate({
      target: [parts.uploadId, parts.partNumber],
      set: {
        attemptId: sql`excluded.attempt_id`,
        attemptUntil: sql`excluded.attempt_until`,
        attemptSince: sql`excluded.attempt_since`,
        attemptYields: false,
        doubtful: sql`${parts.doubtful} or ${parts.attemptId} is not null`,
      },
      setWhere: sql`${parts.attemptId} is null or ${parts.attemptUntil} <= now()`,
    })
    .returning();
}

function value(name: keyof BeginInput) {
  return sql.placeholder(name);
}

async function findOccupant(db: Db, { uploadId, partNumber }: BeginInput) {
  const [slot] = await db
    .select({
      row: parts,
      retryAfterMs: sql<number>`greatest(0, extract(epoch from ${parts.attemptUntil} - now()) * 1000)::float8`,
    })
    .from(parts)
    .where(and(eq(parts.uploadId, uploadId), eq(parts.partNumber, partNumber)));
  return {
    kind: 'occupied' as const,
    part: slot && toPart(slot.row),
    attemptId: slot?.row.attemptId ?? '',
    retryAfterMs: slot?.retryAfterMs ?? 0,
  };
}

function isAttempt({ uploadId, partNumber, attemptId }: AttemptAddress) {
  return and(eq(parts.uploadId, uploadId), eq(parts.partNumber, partNumber), eq(parts.attemptId, attemptId));
}
