import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import type { Upload } from '../../src/core/upload.ts';
import type { UploadRecords } from '../../src/core/upload-records.ts';
import { Connection } from '../../src/db/connection.ts';
import { News } from '../../src/db/news.ts';
import { createRecords } from '../../src/db/records.ts';
import { leaseMs, newName, openRecords, openUpload, type RecordsUnderTest } from './records-under-test.ts';

let here: RecordsUnderTest;
let connection: Connection;

beforeAll(async () => {
  here = await openRecords();
  connection = new Connection({ url: here.url, onIdleError: () => undefined });
});
afterAll(async () => {
  await connection.close();
  await here[Symbol.asyncDispose]();
});

function hereToo(): Process {
  return { records: here.records, newLeaseId: newName };
}

/** Another process, over the same records. */
async function openElsewhere() {
  const news = new News(here.url);
  await news.start();
  return { news, records: createRecords(connection, news), newLeaseId: () => news.newLeaseId() };
}

interface Process {
  readonly records: UploadRecords;
  readonly newLeaseId: () => string;
}

function beginPart({ records, newLeaseId }: Process, upload: Upload) {
  return records.beginAttempt({
    uploadId: upload.id,
    partNumber: 1,
    attemptId: newLeaseId(),
    tenant: upload.tenant,
    leaseMs,
  });
}

function beginFragment({ records, newLeaseId }: Process, upload: Upload, writerId?: string) {
  return records.beginFragment({
    uploadId: upload.id,
    tenant: upload.tenant,
    slot: { partNumber: 1, offset: 0, sizeBytes: 10 },
    basePartSizeBytes: 10,
    from: 0,
    to: 5,
    attemptId: newLeaseId(),
    leaseMs,
    totalBytes: undefined,
    writerId,
    fragmentId: newName(),
    stagingKey: newName(),
  });
}

const kinds: Readonly<Record<string, (process: Process, upload: Upload) => Promise<{ readonly kind: string }>>> = {
  'an attempt at a part': beginPart,
  'a fragment': beginFragment,
  'an append writer': (process, upload) => beginFragment(process, upload, process.newLeaseId()),
};

it.each(Object.keys(kinds))('%s of a process that is gone ends at once', async (kind) => {
  const begin = kinds[kind]!;
  const upload = await openUpload(here.records);
  const elsewhere = await openElsewhere();
  expect(await begin(elsewhere, upload)).toMatchObject({ kind: 'begun' });
  await elsewhere.news.stop();
  expect(await begin(hereToo(), upload)).toMatchObject({ kind: 'occupied' });
  // Until the server has noticed that the connection is gone.
  await vi.waitUntil(() => here.records.endDeadLeases(upload.id), { timeout: 5_000, interval: 5 });
  expect(await begin(hereToo(), upload)).toMatchObject({ kind: 'begun' });
});

it.each(Object.keys(kinds))('%s of a process that lives holds', async (kind) => {
  const begin = kinds[kind]!;
  const upload = await openUpload(here.records);
  const elsewhere = await openElsewhere();
  await begin(elsewhere, upload);
  expect(await here.records.endDeadLeases(upload.id)).toBe(false);
  expect(await begin(hereToo(), upload)).toMatchObject({ kind: 'occupied' });
  await elsewhere.news.stop();
});

it('of a process that was not connected nothing is known', async () => {
  const upload = await openUpload(here.records);
  const news = new News(here.url);
  await beginPart({ records: createRecords(connection, news), newLeaseId: () => news.newLeaseId() }, upload);
  expect(await here.records.endDeadLeases(upload.id)).toBe(false);
});

it('a claim of a process that is gone is taken over at once', async () => {
  const upload = await openUpload(here.records);
  const elsewhere = await openElsewhere();
  await elsewhere.records.claimAbort({
    id: upload.id,
    claimId: elsewhere.newLeaseId(),
    leaseMs,
    reason: 'requested',
  });
  await elsewhere.news.stop();
  await vi.waitUntil(() => here.records.endDeadLeases(upload.id), { timeout: 5_000, interval: 5 });
  const taken = await here.records.takeClaim({ id: upload.id, claimId: newName(), leaseMs });
  expect(taken?.state).toBe('aborting');
});
