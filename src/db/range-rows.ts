import type { CoveredSlot, RangeRecords, RangeRefusal, WantedRange } from '../core/range-records.ts';
import type { Fragment, Run } from '../core/upload.ts';
import { coalesced } from './coalesced.ts';
import type { Connection } from './connection.ts';
import { and, eq, getTableColumns, inArray, isNull, type SQL, sql } from './drizzle.ts';
import { notify } from './news.ts';
import { layoutColumns, toUpload } from './rows.ts';
import { fragments, type RunRow, uploads } from './schema.ts';
import { fromNow, settleMs } from './time.ts';
import type { WorkRows } from './work-rows.ts';

type UploadRow = typeof uploads.$inferSelect;
type RawRow = Record<string, unknown>;

/** Bytes at any offset. What a method does is in the functions of the migrations; here they are called. */
export function rangeRows(connection: Connection): Omit<RangeRecords, keyof WorkRows> {
  const call = (statement: SQL) =>
    connection.run(async (db) => {
      const { rows } = await db.execute<RawRow>(statement);
      return rows[0] ?? {};
    });

  return {
    decideLayout: (uploadId, layout) =>
      connection.run(async (db) => {
        await db
          .update(uploads)
          .set(layoutColumns(layout))
          .where(and(eq(uploads.id, uploadId), isNull(uploads.layout)));
        const [row] = await db.select().from(uploads).where(eq(uploads.id, uploadId));
        return row && toUpload(row);
      }),

    declareDigest: (uploadId, { algorithm, value }) =>
      connection.run(async (db) => {
        await db
          .update(uploads)
          .set({ digestAlgorithm: algorithm, digestValue: value })
          .where(and(eq(uploads.id, uploadId), eq(uploads.state, 'open'), isNull(uploads.digestAlgorithm)));
        const [row] = await db.select().from(uploads).where(eq(uploads.id, uploadId));
        return row && toUpload(row);
      }),

    touch: (uploadId) =>
      connection.run(async (db) => {
        const touched = await db
          .update(uploads)
          .set({ lastWriteAt: sql`now()` })
          .where(and(eq(uploads.id, uploadId), eq(uploads.state, 'open')))
          .returning({ id: uploads.id });
        return touched.length === 1;
      }),

    dropDigestChain: (uploadId) =>
      connection.run(async (db) => {
        // No commit carries a chain beyond that.
        const beyond = { digestOffset: Number.MAX_SAFE_INTEGER, digestState: null };
        await db.update(uploads).set(beyond).where(eq(uploads.id, uploadId));
      }),

    beginFragment: async ({ fragmentId, stagingKey, ...wanted }) => {
      const row = await connection.call('begin_fragment', beginFragment, [...begun(wanted), fragmentId, stagingKey]);
      if (row.outcome !== 'begun') return refusalOf(row, wanted);
      return {
        kind: 'begun',
        upload: uploadOf(row),
        runs: (row.runs as RunRow[]).map(toRun),
        gap: row.gap_from === null ? undefined : { from: Number(row.gap_from), to: Number(row.gap_to) },
      };
    },

    beginRangePart: async (wanted) => {
      const row = await connection.call('begin_part', beginPart, begun(wanted));
      if (row.outcome === 'begun') return { kind: 'begun', upload: uploadOf(row) };
      if (row.outcome === 'not_whole') return { kind: 'not_whole', upload: uploadOf(row) };
      return refusalOf(row, wanted);
    },

    renewFragment: coalesced(async (inputs) => {
      const rows = await connection.rows('renew_fragments', renewFragments, [
        inputs.map(({ fragmentId }) => fragmentId),
        inputs.map(({ attemptId }) => attemptId),
        inputs.map(({ leaseMs }) => leaseMs),
      ]);
      const renewed = new Set(rows.map(({ id }) => id));
      return inputs.map(({ fragmentId }) => renewed.has(fragmentId));
    }),

    commitFragment: async ({ uploadId, fragmentId, attemptId, sizeBytes, digests, slot, leaseMs, ...input }) => {
      const { composeAttemptId, writerId = null, endsWriter = false, chain, next } = input;
      const values = [
        ...[uploadId, fragmentId, attemptId, sizeBytes, JSON.stringify(digests)],
        ...[slot.offset, slot.offset + slot.sizeBytes, composeAttemptId, leaseMs],
        ...[writerId, endsWriter, chain?.endsAt ?? null, chain?.state ?? null],
      ];
      const row =
        next === undefined
          ? await connection.call('commit_fragment', commitFragment, values)
          : await connection.call('commit_fragment_and_expect', commitFragmentAndExpect, [
              ...values,
              ...[next.partNumber, next.from, next.to, next.fragmentId, next.stagingKey, next.attemptId],
            ]);
      if (row.outcome !== 'committed') return { kind: row.outcome as 'displaced' | 'size_conflict' | 'not_open' };
      const pieces = row.pieces as Fragment[] | null;
      return {
        kind: 'committed',
        upload: uploadOf(row),
        covered:
          pieces === null ? undefined : { partNumber: slot.partNumber, attemptId: composeAttemptId, fragments: pieces },
        isNextExpected: row.is_expected === true,
      };
    },

    withdrawFragment: ({ fragmentId, attemptId }) =>
      connection.run(async (db) => {
        await db.delete(fragments).where(isUnderWay(fragmentId, attemptId));
      }),

    dropFragment: ({ fragmentId, attemptId }) =>
      connection.run(async (db) => {
        await db
          .update(fragments)
          .set({ state: 'retired', leaseUntil: fromNow(settleMs) })
          .where(isUnderWay(fragmentId, attemptId));
      }),

    commitRangePart: async ({ uploadId, attemptId, part, runs, writerId = null, endsWriter = false, chain }) => {
      const rows = runs?.map(({ offset, sizeBytes, digests }): RunRow => [offset, sizeBytes, digests]);
      const row = await connection.call('commit_range_part', commitPart, [
        ...[uploadId, part.partNumber, attemptId, part.offset ?? null, part.sizeBytes, part.etag],
        ...[JSON.stringify(part.digests), false, rows === undefined ? null : JSON.stringify(rows)],
        ...[writerId, endsWriter, chain?.endsAt ?? null, chain?.state ?? null],
      ]);
      if (row.outcome === 'committed') return { kind: 'committed', upload: uploadOf(row) };
      return { kind: row.outcome as 'displaced' | 'size_conflict' | 'not_open' };
    },

    endWriter: ({ uploadId, writerId }) =>
      connection.run(async (db) => {
        await db
          .update(uploads)
          .set({ writerId: null, writerUntil: null })
          .where(and(eq(uploads.id, uploadId), eq(uploads.writerId, writerId)));
      }),
    renewWriter: coalesced(async (inputs) => {
      await connection.rows('renew_writers', renewWriters, [
        inputs.map(({ uploadId }) => uploadId),
        inputs.map(({ writerId }) => writerId),
        inputs.map(({ leaseMs }) => leaseMs),
      ]);
      return inputs.map(() => undefined);
    }),
    askWriterToYield: (writerId) =>
      connection.run(async (db) => void (await db.execute(sql`select ${notify('yield', writerId)}`))),
    askWriterToCheckpoint: async (writerId) => {
      const { lives } = await call(sql`
        select not partway_is_dead(${writerId}) as lives,
               case when not partway_is_dead(${writerId}) then ${notify('checkpoint', writerId)} end`);
      return lives === true;
    },
    tellCheckpoint: (writerId) =>
      connection.run(async (db) => void (await db.execute(sql`select ${notify('reached', writerId)}`))),

    tellSize: async (uploadId, sizeBytes) => {
      const row = await call(sql`select * from partway_tell_size(${uploadId}, ${sizeBytes})`);
      const upload = row.id === null || row.id === undefined ? undefined : uploadOf(row);
      if (upload === undefined || upload.state !== 'open') return { kind: 'not_open', upload };
      return { kind: upload.sizeBytes === sizeBytes ? 'told' : 'size_conflict', upload };
    },

    claimCovered: async ({ upload, attemptId, leaseMs, slotOf }) => {
      const { rows } = await connection.run((db) =>
        db.execute<{ part_number: number; covered: string }>(sql`
          select f.part_number, sum(f.size) as covered
            from fragments f left join parts p on p.upload_id = f.upload_id and p.part_number = f.part_number
            where f.upload_id = ${upload.id} and f.state = 'durable'
              and (p.attempt_id is null or p.attempt_until <= now()) and p.etag is null
            group by f.part_number order by f.part_number`),
      );
      for (const { part_number, covered } of rows) {
        const slot = slotOf(part_number);
        if (slot === undefined || Number(covered) !== slot.sizeBytes) continue;
        const claimed = await claimSlot(call, { uploadId: upload.id, partNumber: part_number, attemptId, leaseMs });
        if (claimed !== undefined) return claimed;
      }
      return undefined;
    },

    listRuns: (uploadId, { from, limit }) =>
      connection.run(async (db) => {
        const { rows } = await db.execute<{
          offset: string;
          size: string;
          digests: Run['digests'];
          runs: RunRow[] | null;
        }>(sql`
          select "offset", size, digests, runs from (
            (select "offset", size, digests, runs from parts
               where upload_id = ${uploadId} and etag is not null and "offset" + size > ${from}
               order by "offset" limit ${limit})
            union all
            (select "offset", size, digests, null::jsonb as runs from fragments
               where upload_id = ${uploadId} and state = 'durable' and "offset" + size > ${from}
               order by "offset" limit ${limit})) as runs
          order by "offset" limit ${limit}`);
        const runs = rows.flatMap(({ offset, size, digests, runs }) =>
          (runs ?? [[Number(offset), Number(size), digests] as const]).map(toRun),
        );
        return runs.filter((run) => run.offset + run.sizeBytes > from).slice(0, limit);
      }),

    listGaps: async (uploadId, { from, limit }) => {
      const rows = await connection.rows('list_gaps', listGaps, [uploadId, from, limit]);
      return {
        gaps: rows.flatMap(({ gap_from, gap_to }) =>
          gap_from === null ? [] : [{ from: Number(gap_from), to: Number(gap_to) }],
        ),
        reach: Number(rows[0]?.reach ?? from),
      };
    },

    markConflicted: (uploadId) =>
      connection.run(async (db) => {
        await db.update(uploads).set({ conflicted: true }).where(eq(uploads.id, uploadId));
      }),

    markCareful: ({ uploadId, fragmentBytes, forMs }) =>
      connection.run(async (db) => {
        await db
          .update(uploads)
          .set({ carefulUntil: fromNow(forMs), carefulFragmentSize: fragmentBytes })
          .where(eq(uploads.id, uploadId));
      }),
  };
}

const placeholders = (count: number) => Array.from({ length: count }, (_, index) => `$${index + 1}`).join(', ');
/** Durable runs never overlap, so what lies between a run and the one before it is missing. */
const listGaps = `
  with runs as (
    -- One that was made since may reach over the offset.
    (select "offset", "offset" + size as "end" from parts
      where upload_id = $1 and etag is not null and "offset" < $2 order by "offset" desc limit 1)
    union all
    select "offset", "offset" + size from parts
      where upload_id = $1 and etag is not null and "offset" >= $2
    union all
    select "offset", "offset" + size from fragments
      where upload_id = $1 and state = 'durable' and "offset" >= $2
  ), ordered as (
    select "offset", greatest($2::bigint, lag("end") over (order by "offset")) as before from runs
  )
  select gap.before as gap_from, gap."offset" as gap_to, whole.reach
    from (select greatest($2::bigint, max("end")) as reach from runs) as whole
      left join lateral (
        select before, "offset" from ordered where "offset" > before order by before limit $3
      ) as gap on true`;
/** An upload that somebody works on just now is passed over: a writer's own commit says as much. */
const renewWriters = `
  with held as (
    select u.id, w.lease_ms from unnest($1::text[], $2::text[], $3::float8[]) as w (id, writer_id, lease_ms)
      join uploads u on u.id = w.id and u.writer_id = w.writer_id
      for update of u skip locked
  )
  update uploads u set writer_until = now() + held.lease_ms * interval '1 millisecond' from held where u.id = held.id`;
const renewFragments = `
  update fragments f set lease_until = now() + w.lease_ms * interval '1 millisecond'
    from unnest($1::text[], $2::text[], $3::float8[]) as w (id, attempt_id, lease_ms)
    where f.id = w.id and f.attempt_id = w.attempt_id and f.state in ('pending', 'expected')
    returning f.id`;
const beginFragment = `select outcome, (upload).*, runs, gap_from, gap_to, holder, retry_ms
  from partway_begin_fragment(${placeholders(14)})`;
const beginPart = `select outcome, (upload).*, holder, retry_ms from partway_begin_part(${placeholders(12)})`;
const commitFragment = `select outcome, (upload).*, pieces from partway_commit_fragment(${placeholders(13)})`;
const commitFragmentAndExpect = `select outcome, (upload).*, pieces, is_expected
  from partway_commit_fragment_and_expect(${placeholders(19)})`;
const commitPart = `select outcome, (upload).* from partway_commit_part(${placeholders(13)})`;

function begun(wanted: WantedRange): unknown[] {
  const { tenant, uploadId, slot, from, to, attemptId, leaseMs, totalBytes = null, writerId = null } = wanted;
  return [
    ...[tenant, uploadId, slot.partNumber, slot.offset, slot.offset + slot.sizeBytes, wanted.basePartSizeBytes],
    ...[from, to, attemptId, leaseMs, totalBytes, writerId],
  ];
}

function refusalOf(row: RawRow, { slot }: WantedRange): RangeRefusal {
  const outcome = row.outcome as string | undefined;
  if (outcome === 'not_found' || outcome === undefined) return { kind: 'not_found' };
  const upload = uploadOf(row);
  switch (outcome) {
    case 'occupied':
    case 'occupied_by_writer':
      return {
        kind: 'occupied',
        upload,
        holder: {
          id: String(row.holder),
          isWriter: outcome === 'occupied_by_writer',
          partNumber: slot.partNumber,
        },
        retryAfterMs: Number(row.retry_ms),
      };
    case 'size_conflict':
    case 'other_layout':
    case 'gap':
    case 'not_open':
      return { kind: outcome, upload };
    default:
      throw new Error(`records: unknown outcome ${outcome}`);
  }
}

async function claimSlot(
  call: (statement: SQL) => Promise<RawRow>,
  input: { uploadId: string; partNumber: number; attemptId: string; leaseMs: number },
): Promise<CoveredSlot | undefined> {
  const { uploadId, partNumber, attemptId, leaseMs } = input;
  const { pieces } = await call(
    sql`select partway_claim_covered(${uploadId}, ${partNumber}, ${attemptId}, ${leaseMs}) as pieces`,
  );
  return pieces === null || pieces === undefined
    ? undefined
    : { partNumber, attemptId, fragments: pieces as Fragment[] };
}

function isUnderWay(fragmentId: string, attemptId: string) {
  return and(
    eq(fragments.id, fragmentId),
    eq(fragments.attemptId, attemptId),
    inArray(fragments.state, ['pending', 'expected']),
  );
}

function toRun([offset, sizeBytes, digests, fragmentId]: RunRow): Run {
  return { offset: Number(offset), sizeBytes: Number(sizeBytes), digests, fragmentId };
}

const uploadColumns = Object.entries(getTableColumns(uploads)).map(
  ([name, column]) => [name, column.name, (value: unknown) => column.mapFromDriverValue(value)] as const,
);

/** A row that a function returned, read as drizzle reads its own. */
function uploadOf(raw: RawRow): ReturnType<typeof toUpload> {
  const row: Record<string, unknown> = {};
  for (const [name, column, read] of uploadColumns) {
    const value = raw[column];
    row[name] = value === null || value === undefined ? null : read(value);
  }
  return toUpload(row as UploadRow);
}
