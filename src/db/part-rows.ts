import { and, asc, eq, gt, inArray, isNotNull, sql } from 'drizzle-orm';
import type { UploadRecords } from '../core/ports.ts';
import type { Part } from '../core/upload.ts';
import type { Connection, Db } from './connection.ts';
import { toPart, toUpload } from './rows.ts';
import { parts, uploads } from './schema.ts';

type UploadRow = typeof uploads.$inferSelect;

/** Durable parts, and the counters on the upload that every change of them moves in the same transaction. */
export function partRows(
  connection: Connection,
): Pick<UploadRecords, 'findPart' | 'listParts' | 'commitPart' | 'adoptParts' | 'forgetParts' | 'markSigned'> {
  return {
    findPart: (uploadId, partNumber) =>
      connection.run(async (db) => {
        const [row] = await db.select().from(parts).where(isSlot(uploadId, partNumber));
        return row && toPart(row);
      }),

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

    commitPart: ({ uploadId, attemptId, part, fixesSize }) =>
      connection.transaction(async (tx) => {
        const upload = await lockUpload(tx, uploadId);
        if (upload?.state !== 'open') return { kind: 'not_open', upload: upload && toUpload(upload) };
        const [slot] = await tx.select().from(parts).where(isSlot(uploadId, part.partNumber)).for('update');
        if (slot?.attemptId !== attemptId) return { kind: 'displaced' };
        if (upload.size === null && fixesSize && (await hasPartAfter(tx, uploadId, part.partNumber))) {
          return { kind: 'size_conflict' };
        }
        const end = (part.offset ?? 0) + part.sizeBytes;
        if (upload.size !== null && upload.layout === 'planned' && end > upload.size) return { kind: 'size_conflict' };
        await tx
          .update(parts)
          .set({ ...durable(part), attemptId: null, attemptPhase: null, attemptUntil: null })
          .where(isSlot(uploadId, part.partNumber));
        const [row] = await tx
          .update(uploads)
          .set({
            ...(await countersWith(tx, upload, part, slot.etag === null ? undefined : (slot.size ?? 0))),
            ...(upload.size === null && fixesSize ? { size: end } : {}),
            lastWriteAt: sql`now()`,
            updatedAt: sql`now()`,
          })
          .where(eq(uploads.id, uploadId))
          .returning();
        if (row === undefined) throw new Error('records: a locked upload vanished');
        return { kind: 'committed', upload: toUpload(row) };
      }),

    adoptParts: ({ uploadId, parts: adopted, fixesSizeBytes }) =>
      connection.transaction(async (tx) => {
        const upload = await lockUpload(tx, uploadId);
        if (upload?.state !== 'open') return undefined;
        for (const part of adopted) {
          await tx
            .insert(parts)
            .values({ uploadId, partNumber: part.partNumber, ...durable(part) })
            .onConflictDoUpdate({ target: [parts.uploadId, parts.partNumber], set: durable(part) });
        }
        return recount(tx, uploadId, upload.size === null && fixesSizeBytes !== undefined ? fixesSizeBytes : undefined);
      }),

    forgetParts: (uploadId, partNumbers) =>
      connection.transaction(async (tx) => {
        if ((await lockUpload(tx, uploadId)) === undefined) return;
        await tx
          .update(parts)
          .set({ etag: null, size: null, digests: {}, storedAt: null })
          .where(and(eq(parts.uploadId, uploadId), inArray(parts.partNumber, [...partNumbers])));
        await recount(tx, uploadId, undefined);
      }),

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

function isSlot(uploadId: string, partNumber: number) {
  return and(eq(parts.uploadId, uploadId), eq(parts.partNumber, partNumber));
}

function durable(part: Part) {
  return {
    offset: part.offset ?? null,
    size: part.sizeBytes,
    etag: part.etag,
    digests: part.digests,
    storedAt: sql`now()`,
  };
}

/** Commits of one upload are serial from here on. */
export async function lockUpload(tx: Db, id: string): Promise<UploadRow | undefined> {
  const [row] = await tx.select().from(uploads).where(eq(uploads.id, id)).for('update');
  return row;
}

async function hasPartAfter(tx: Db, uploadId: string, partNumber: number): Promise<boolean> {
  const [later] = await tx
    .select({ partNumber: parts.partNumber })
    .from(parts)
    .where(and(eq(parts.uploadId, uploadId), gt(parts.partNumber, partNumber), isNotNull(parts.etag)))
    .limit(1);
  return later !== undefined;
}

/** Moves the counters forward by one part; the run of parts without a gap is followed, never recomputed. */
async function countersWith(
  tx: Db,
  upload: UploadRow,
  part: Part,
  replacedSize: number | undefined,
): Promise<Pick<UploadRow, 'receivedBytes' | 'contiguousParts' | 'offset'>> {
  const delta = part.sizeBytes - (replacedSize ?? 0);
  const receivedBytes = upload.receivedBytes + delta;
  let { contiguousParts, offset } = upload;
  if (part.partNumber <= contiguousParts) return { receivedBytes, contiguousParts, offset: offset + delta };
  if (part.partNumber > contiguousParts + 1) return { receivedBytes, contiguousParts, offset };
  contiguousParts = part.partNumber;
  offset += part.sizeBytes;
  for (;;) {
    const next = await tx
      .select({ partNumber: parts.partNumber, size: parts.size })
      .from(parts)
      .where(and(eq(parts.uploadId, upload.id), gt(parts.partNumber, contiguousParts), isNotNull(parts.etag)))
      .orderBy(asc(parts.partNumber))
      .limit(100);
    for (const { partNumber, size } of next) {
      if (partNumber !== contiguousParts + 1) return { receivedBytes, contiguousParts, offset };
      contiguousParts = partNumber;
      offset += size ?? 0;
    }
    if (next.length < 100) return { receivedBytes, contiguousParts, offset };
  }
}

/** The counters from the parts themselves: after many changed at once. */
async function recount(tx: Db, uploadId: string, sizeBytes: number | undefined) {
  const { rows } = await tx.execute<{ contiguous: number; offset: string; received: string }>(sql`
    with d as (select part_number, size, row_number() over (order by part_number) as rank
                 from parts where upload_id = ${uploadId} and etag is not null)
    select (count(*) filter (where part_number = rank))::integer as contiguous,
           coalesce(sum(size) filter (where part_number = rank), 0) as offset,
           coalesce(sum(size), 0) as received
      from d`);
  const counted = rows[0] ?? { contiguous: 0, offset: '0', received: '0' };
  const [row] = await tx
    .update(uploads)
    .set({
      contiguousParts: counted.contiguous,
      offset: Number(counted.offset),
      receivedBytes: Number(counted.received),
      ...(sizeBytes === undefined ? {} : { size: sizeBytes }),
      updatedAt: sql`now()`,
    })
    .where(eq(uploads.id, uploadId))
    .returning();
  return row && toUpload(row);
}
