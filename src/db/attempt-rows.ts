import { and, eq, sql } from 'drizzle-orm';
import type { AttemptAddress, UploadRecords } from '../core/ports.ts';
import type { Connection } from './connection.ts';
import { parts } from './schema.ts';
import { fromNow } from './time.ts';

/** The leases of slots. A lease is the part's row itself. */
export function attemptRows(
  connection: Connection,
): Pick<UploadRecords, 'beginAttempt' | 'renewAttempt' | 'confirmAttempt' | 'dropAttempt'> {
  return {
    beginAttempt: ({ uploadId, partNumber, attemptId, leaseMs }) =>
      connection.run(async (db) => {
        // A confirming attempt whose lease ran out may still land at the store: the part becomes doubtful.
        const begun = await db.execute(sql`
          insert into parts (upload_id, part_number, attempt_id, attempt_phase, attempt_until)
          select id, ${partNumber}, ${attemptId}, 'receiving', ${fromNow(leaseMs)}
            from uploads where id = ${uploadId} and state = 'open'
          on conflict (upload_id, part_number) do update
            set attempt_id = excluded.attempt_id, attempt_phase = 'receiving', attempt_until = excluded.attempt_until,
                doubtful = parts.doubtful or coalesce(parts.attempt_phase = 'confirming', false)
            where parts.attempt_phase is distinct from 'confirming' or parts.attempt_until <= now()
          returning 1`);
        if (begun.rowCount === 1) return { kind: 'begun' };
        const { rows } = await db.execute<{ wait_ms: number }>(sql`
          select greatest(0, extract(epoch from p.attempt_until - now()) * 1000)::float8 as wait_ms
            from parts p join uploads u on u.id = p.upload_id
            where p.upload_id = ${uploadId} and p.part_number = ${partNumber} and u.state = 'open'`);
        return rows[0] === undefined ? { kind: 'not_open' } : { kind: 'busy', retryAfterMs: rows[0].wait_ms };
      }),

    renewAttempt: ({ uploadId, partNumber, attemptId, leaseMs }) =>
      connection.run(async (db) => {
        const renewed = await db.execute(sql`
          update parts set attempt_until = ${fromNow(leaseMs)} from uploads u
            where parts.upload_id = ${uploadId} and part_number = ${partNumber} and attempt_id = ${attemptId}
              and u.id = parts.upload_id and u.state = 'open'`);
        return renewed.rowCount === 1;
      }),

    confirmAttempt: ({ uploadId, partNumber, attemptId, leaseMs }) =>
      connection.run(async (db) => {
        // The share lock waits for a claim that is being made, and makes a claim wait for this commit: a claim
        // sees every attempt that may send its last byte.
        const confirmed = await db.execute(sql`
          with u as (select id from uploads where id = ${uploadId} and state = 'open' for share)
          update parts set attempt_phase = 'confirming', attempt_until = ${fromNow(leaseMs)} from u
            where parts.upload_id = u.id and part_number = ${partNumber} and attempt_id = ${attemptId}`);
        return confirmed.rowCount === 1;
      }),

    dropAttempt: ({ uncertain, ...address }) =>
      connection.run(async (db) => {
        await db
          .update(parts)
          .set({
            attemptId: null,
            attemptPhase: null,
            attemptUntil: null,
            ...(uncertain ? { doubtful: true } : {}),
          })
          .where(isAttempt(address));
      }),
  };
}

function isAttempt({ uploadId, partNumber, attemptId }: AttemptAddress) {
  return and(eq(parts.uploadId, uploadId), eq(parts.partNumber, partNumber), eq(parts.attemptId, attemptId));
}
