import { randomBytes } from 'node:crypto';
import pg from 'pg';
import type { Part, Upload } from '../../src/core/upload.ts';
import type { NewUpload, UploadRecords } from '../../src/core/upload-records.ts';
import { Connection } from '../../src/db/connection.ts';
import { News } from '../../src/db/news.ts';
import { forgetParts, lockUpload } from '../../src/db/part-rows.ts';
import { createRecords } from '../../src/db/records.ts';
import { createTestDatabase } from '../support/postgres.ts';

export const leaseMs = 60_000;

/** The records in a database of their own, and a plain connection beside them. */
export interface RecordsUnderTest extends AsyncDisposable {
  readonly records: UploadRecords;
  readonly db: pg.Client;
  readonly url: string;
  /** Takes parts out of the record, as `reopen` does in its transaction. */
  forget(uploadId: string, partNumbers: readonly number[]): Promise<void>;
}

export async function openRecords(): Promise<RecordsUnderTest> {
  await using opened = new AsyncDisposableStack();
  const database = await createTestDatabase();
  opened.defer(() => database.drop());
  const connection = new Connection({ url: database.url, onIdleError: () => undefined });
  opened.defer(() => connection.close());
  const news = new News(database.url);
  opened.defer(() => news.stop());
  await news.start();
  const db = new pg.Client({ connectionString: database.url });
  await db.connect();
  opened.defer(() => db.end());
  const owned = opened.move();
  return {
    records: createRecords(connection, news),
    db,
    url: database.url,
    forget: (uploadId, partNumbers) =>
      connection.transaction(async (tx) => {
        const upload = await lockUpload(tx, uploadId);
        if (upload !== undefined) await forgetParts(tx, upload, partNumbers);
      }),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

export function newName(): string {
  return randomBytes(8).toString('hex');
}

/** Slots of ten bytes, of unknown size, unless told otherwise. */
export function newUpload(changes: Partial<NewUpload> = {}): NewUpload {
  const id = newName();
  return {
    id,
    tenant: 'tenant',
    protocol: 'rest',
    bucket: 'bucket',
    key: `${id}.bin`,
    storeKey: `${id}.bin`,
    token: newName(),
    sizeBytes: undefined,
    layout: { kind: 'planned', partSizeBytes: 10 },
    contentType: undefined,
    metadata: {},
    digest: undefined,
    ifNoneMatch: false,
    isSelfCompleting: false,
    sessionHash: undefined,
    front: {},
    sources: undefined,
    idempotency: undefined,
    lifetimeMs: 3_600_000,
    leaseMs,
    ...changes,
  };
}

export async function openUpload(records: UploadRecords, changes: Partial<NewUpload> = {}): Promise<Upload> {
  const { upload } = await records.insert(newUpload(changes));
  const opened = await records.open({ id: upload.id, storeUploadId: `store-${upload.id}`, keepsMs: undefined });
  if (opened === undefined) throw new Error('the upload did not open');
  return opened;
}

/** A part that fills its slot of ten bytes, unless told otherwise. */
export function newPart(partNumber: number, changes: Partial<Part> = {}): Part {
  return {
    partNumber,
    offset: (partNumber - 1) * 10,
    sizeBytes: 10,
    etag: `"${newName()}"`,
    digests: {},
    ...changes,
  };
}

export async function storePart(
  records: UploadRecords,
  upload: Upload,
  part: Part,
  { fixesSize = false }: { fixesSize?: boolean } = {},
): ReturnType<UploadRecords['commitPart']> {
  const attemptId = newName();
  const { id: uploadId, tenant } = upload;
  const begun = await records.beginAttempt({ uploadId, tenant, partNumber: part.partNumber, attemptId, leaseMs });
  if (begun.kind !== 'begun') throw new Error(`the attempt did not begin: ${begun.kind}`);
  return records.commitPart({ uploadId, attemptId, part, fixesSize });
}

export async function findPart(records: UploadRecords, { id }: Upload, partNumber: number): Promise<Part | undefined> {
  const [part] = await records.listParts(id, { after: partNumber - 1, limit: 1 });
  return part?.partNumber === partNumber ? part : undefined;
}

export async function look(records: UploadRecords, { tenant, id }: Upload): Promise<Upload> {
  const upload = await records.find(tenant, id);
  if (upload === undefined) throw new Error('the upload is gone');
  return upload;
}
