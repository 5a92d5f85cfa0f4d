import type { CompletionClaim, UploadRecords } from '../core/upload-records.ts';
import type { Connection, Db } from './connection.ts';
import { and, eq, inArray, isNotNull, sql } from './drizzle.ts';
import { isUniqueViolation } from './errors.ts';
import { notify } from './news.ts';
import { forgetParts, lockUpload } from './part-rows.ts';
import { toUpload } from './rows.ts';
import { completionHolds, fragments, parts, uploads } from './schema.ts';
import { fromNow } from './time.ts';

type UploadRow = typeof uploads.$inferSelect;

/** Who may complete or abort an upload, and how that ends. Each change is a compare-and-set on the claim, or on the state. */
export function claimRows(
  connection: Connection,
): Pick<
  UploadRecords,
  | 'claimCompletion'
  | 'claimAbort'
  | 'takeClaim'
  | 'renewClaim'
  | 'releaseClaim'
  | 'finishCompletion'
  | 'markDeleted'
  | 'reopen'
  | 'finishAbort'
> {
  /** Writes `changes` if the row is under this claim. */
  const change = (
    input: { readonly id: string; readonly claimId: string },
    changes: Partial<Record<keyof UploadRow, unknown>>,
  ) =>
    connection.run(async (db) => {
      const [row] = await db
        .update(uploads)
        .set({ updatedAt: sql`now()`, ...(changes as object) })
        .where(and(eq(uploads.id, input.id), eq(uploads.claimId, input.claimId)))
        .returning();
      return row && toUpload(row);
    });
  const unclaimed = {
    claimId: null,
    claimUntil: null,
    claimedSize: null,
    claimedDigestAlgorithm: null,
    claimedDigestValue: null,
  } as const;

  return {
    claimCompletion: async (input) => {
      try {
        return await connection.transaction((tx) => claimCompletion(tx, input));
      } catch (error) {
        if (!(error instanceof OtherCompleting)) throw error;
        return { kind: 'busy', upload: toUpload(error.row) };
      }
    },

    claimAbort: ({ id, claimId, leaseMs, reason, ifLastWriteAt }) =>
      connection.transaction(async (tx) => {
        const row = await lockUpload(tx, id);
        if (row === undefined) return { kind: 'not_open', upload: undefined };
        if (row.state !== 'open' && row.state !== 'aborting') return { kind: 'not_open', upload: toUpload(row) };
        if (row.state === 'aborting' && !(await ranOut(tx, id))) return { kind: 'busy', upload: toUpload(row) };
        if (isAfter(row.lastWriteAt, ifLastWriteAt)) return { kind: 'busy', upload: toUpload(row) };
        await endAttempts(tx, id);
        await tellWriters(tx, id);
        const [claimed] = await tx
          .update(uploads)
          .set({
            state: 'aborting',
            reason: row.state === 'aborting' ? row.reason : reason,
            claimId,
            claimUntil: fromNow(leaseMs),
            updatedAt: sql`now()`,
          })
          .where(eq(uploads.id, id))
          .returning();
        return { kind: 'claimed', upload: claimed && toUpload(claimed) };
      }),

    takeClaim: ({ id, claimId, leaseMs }) =>
      connection.run(async (db) => {
        const [row] = await db
          .update(uploads)
          .set({ claimId, claimUntil: fromNow(leaseMs) })
          .where(
            and(
              eq(uploads.id, id),
              sql`${uploads.state} in ('completing', 'aborting')`,
              sql`coalesce(${uploads.claimUntil}, now()) <= now()`,
            ),
          )
          .returning();
        return row && toUpload(row);
      }),

    renewClaim: async ({ leaseMs, ...claim }) => {
      const renewed = await change(claim, { claimUntil: fromNow(leaseMs) });
      return renewed !== undefined;
    },

    releaseClaim: async (claim) => {
      await change(claim, { claimUntil: sql`now()` });
    },

    finishCompletion: ({ id, claimId, etag, retentionMs, isStaged }) =>
      connection.transaction(async (tx) => {
        const [row] = await tx
          .update(uploads)
          .set({
            state: 'completed',
            etag,
            size: sql`coalesce(${uploads.size}, ${uploads.claimedSize})`,
            digestAlgorithm: sql`coalesce(${uploads.digestAlgorithm}, ${uploads.claimedDigestAlgorithm})`,
            digestValue: sql`coalesce(${uploads.digestValue}, ${uploads.claimedDigestValue})`,
            completedAt: sql`now()`,
            updatedAt: sql`now()`,
            expiresAt: fromNow(retentionMs),
            ...unclaimed,
          })
          .where(and(eq(uploads.id, id), eq(uploads.claimId, claimId), eq(uploads.state, 'completing')))
          .returning();
        if (row === undefined) return undefined;
        if (isStaged) {
          await retireObject(tx, row, retentionMs);
          await wakeWaiting(tx, id);
        }
        return toUpload(row);
      }),

    markDeleted: ({ id, retentionMs }) =>
      connection.transaction(async (tx) => {
        await tx
          .update(uploads)
          .set({ state: 'deleted', expiresAt: fromNow(retentionMs), updatedAt: sql`now()` })
          .where(and(eq(uploads.id, id), eq(uploads.state, 'completed')));
        await wakeWaiting(tx, id);
      }),

    reopen: ({ id, claimId, forget = [] }) =>
      connection.transaction(async (tx) => {
        const claimed = await lockUpload(tx, id);
        if (claimed?.state !== 'completing' || claimed.claimId !== claimId) return undefined;
        if (forget.length > 0) await forgetParts(tx, claimed, forget);
        const [row] = await tx
          .update(uploads)
          .set({ state: 'open', ...unclaimed, updatedAt: sql`now()` })
          .where(eq(uploads.id, id))
          .returning();
        return row && toUpload(row);
      }),

    finishAbort: ({ id, claimId, retentionMs, reason }) =>
      connection.transaction(async (tx) => {
        const [row] = await tx
          .update(uploads)
          .set({
            state: 'aborted',
            expiresAt: fromNow(retentionMs),
            ...(reason === undefined ? {} : { reason }),
            ...unclaimed,
            updatedAt: sql`now()`,
          })
          .where(
            and(eq(uploads.id, id), eq(uploads.claimId, claimId), sql`${uploads.state} in ('aborting', 'completing')`),
          )
          .returning();
        if (row === undefined) return undefined;
        // One that is not durable may have its object on the way yet: its lease has to run out first.
        await tx
          .update(fragments)
          .set({ state: 'retired', leaseUntil: sql`now()` })
          .where(and(eq(fragments.uploadId, id), eq(fragments.state, 'durable')));
        await wakeWaiting(tx, id);
        return toUpload(row);
      }),
  };
}

/** A staged object goes as a fragment does that no part needs any more, and the upload's row not before it. */
async function retireObject(tx: Db, row: UploadRow, keptMs: number): Promise<void> {
  await tx.insert(fragments).values({
    id: row.id,
    uploadId: row.id,
    partNumber: 1,
    offset: 0,
    size: row.size ?? 0,
    state: 'retired',
    stagingKey: row.storeKey,
    attemptId: row.id,
    leaseUntil: fromNow(keptMs),
  });
}

/** What waits for this upload to end has the reaper look at it. In one order, so that two that end never wait for each other. */
async function wakeWaiting(tx: Db, id: string): Promise<void> {
  await tx.execute(sql`
    update uploads set work_due = now() where id in (
      select id from uploads where sources @> array[${id}::text] and state = 'open' and work_due is null
        order by id for update)`);
}

/** The unique index found another upload to the same key in `completing`. Carries out of the transaction. */
class OtherCompleting extends Error {
  readonly row: UploadRow;
  constructor(row: UploadRow) {
    super('another upload to this key is completing');
    this.row = row;
  }
}

async function claimCompletion(
  tx: Db,
  input: Parameters<UploadRecords['claimCompletion']>[0],
): Promise<CompletionClaim> {
  const row = await lockUpload(tx, input.id);
  if (row === undefined) throw new Error('records: the upload to claim is gone');
  const upload = toUpload(row);
  if (row.state !== 'open') return { kind: 'not_open', upload };
  if (input.byItself && row.conflicted) return { kind: 'disputed', upload };
  const size = coveredSize(row, input.sizeBytes);
  if (size === undefined) return { kind: 'incomplete', upload };
  if (await hasFragments(tx, input.id)) return { kind: 'uncomposed', upload };
  if ((await countParts(tx, input.id)) !== row.contiguousParts) return { kind: 'incomplete', upload };
  if (input.byItself && (await isHeld(tx, input.id))) return { kind: 'busy', upload };
  if (await askLiveAttempts(tx, input.id)) return { kind: 'busy', upload };
  await endAttempts(tx, input.id);
  const doubtful = row.signed || (await hasDoubtfulPart(tx, input.id));
  const claimed = await tx
    .update(uploads)
    .set({
      state: 'completing',
      claimedSize: size,
      claimedDigestAlgorithm: input.digest?.algorithm,
      claimedDigestValue: input.digest?.value,
      claimId: input.claimId,
      claimUntil: fromNow(input.leaseMs),
      updatedAt: sql`now()`,
    })
    .where(eq(uploads.id, input.id))
    .returning()
    .catch((error: unknown) => {
      throw isUniqueViolation(error, 'uploads_one_completing') ? new OtherCompleting(row) : error;
    });
  return { kind: 'claimed', upload: claimed[0] === undefined ? upload : toUpload(claimed[0]), doubtful };
}

/** The size of the whole if every byte of it is durable. */
function coveredSize(row: UploadRow, expected: number | undefined): number | undefined {
  const size =
    row.size ?? expected ?? (row.receivedBytes > 0 || row.contiguousParts > 0 ? row.receivedBytes : undefined);
  if (size === undefined || (expected !== undefined && expected !== size)) return undefined;
  if (row.offset !== size || row.receivedBytes !== size) return undefined;
  return size;
}

async function countParts(tx: Db, uploadId: string): Promise<number> {
  const [{ count } = { count: 0 }] = await tx
    .select({ count: sql<number>`count(*)::integer` })
    .from(parts)
    .where(and(eq(parts.uploadId, uploadId), isNotNull(parts.etag)));
  return count;
}

async function hasFragments(tx: Db, uploadId: string): Promise<boolean> {
  const [fragment] = await tx
    .select({ id: fragments.id })
    .from(fragments)
    .where(and(eq(fragments.uploadId, uploadId), eq(fragments.state, 'durable')))
    .limit(1);
  return fragment !== undefined;
}

async function isHeld(tx: Db, uploadId: string): Promise<boolean> {
  const { rowCount } = await tx.execute(
    sql`select from ${completionHolds} where upload_id = ${uploadId} and until > now()`,
  );
  return (rowCount ?? 0) > 0;
}

/** Asks every live attempt to yield; whether there is one. */
async function askLiveAttempts(tx: Db, uploadId: string): Promise<boolean> {
  const { rowCount } = await tx.execute(sql`
    with asked as (update parts set attempt_yields = true
                     where upload_id = ${uploadId} and attempt_id is not null and attempt_until > now()
                     returning attempt_id)
    select ${notify('yield', sql`attempt_id`)} from asked`);
  return (rowCount ?? 0) > 0;
}

/** From here on no attempt of these uploads can commit. What one may have sent stays doubtful. */
export async function endAttempts(tx: Db, ...uploadIds: string[]): Promise<void> {
  const live = tx.$with('live').as(
    tx
      .select({ uploadId: parts.uploadId, partNumber: parts.partNumber, attemptId: parts.attemptId })
      .from(parts)
      .where(and(inArray(parts.uploadId, uploadIds), isNotNull(parts.attemptId)))
      .for('update'),
  );
  const ended = tx.$with('ended').as(
    tx
      .update(parts)
      .set({ doubtful: true, attemptId: null, attemptUntil: null, attemptYields: false })
      .from(live)
      .where(and(eq(parts.uploadId, live.uploadId), eq(parts.partNumber, live.partNumber)))
      .returning({ attemptId: live.attemptId }),
  );
  await tx
    .with(live, ended)
    .select({ told: notify('yield', sql`${ended.attemptId}`) })
    .from(ended);
}

/** Whose bytes would count for nothing need not send them. */
async function tellWriters(tx: Db, uploadId: string): Promise<void> {
  await tx.execute(sql`
    select ${notify('yield', sql`writer_id`)} from uploads where id = ${uploadId} and writer_id is not null
    union all
    select ${notify('yield', sql`attempt_id`)} from fragments
      where upload_id = ${uploadId} and state in ('pending', 'expected')`);
}

async function hasDoubtfulPart(tx: Db, uploadId: string): Promise<boolean> {
  const [doubtful] = await tx
    .select({ partNumber: parts.partNumber })
    .from(parts)
    .where(and(eq(parts.uploadId, uploadId), eq(parts.doubtful, true)))
    .limit(1);
  return doubtful !== undefined;
}

async function ranOut(tx: Db, id: string): Promise<boolean> {
  const { rowCount } = await tx.execute(
    sql`select 1 from uploads where id = ${id} and coalesce(claim_until, now()) <= now()`,
  );
  return (rowCount ?? 0) > 0;
}

function isAfter(at: Date | null, seen: Date | undefined): boolean {
  return at !== null && seen !== undefined && at.getTime() > seen.getTime();
}
