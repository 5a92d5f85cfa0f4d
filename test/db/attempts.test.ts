import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { Upload } from '../../src/core/upload.ts';
import type { UploadRecords } from '../../src/core/upload-records.ts';
import {
  findPart,
  leaseMs,
  newName,
  newPart,
  openRecords,
  openUpload,
  type RecordsUnderTest,
  storePart,
} from './records-under-test.ts';

let opened: RecordsUnderTest;
let records: UploadRecords;
beforeAll(async () => {
  opened = await openRecords();
  records = opened.records;
});
afterAll(() => opened[Symbol.asyncDispose]());

function begin(upload: Upload, attemptId: string, partNumber = 1, lease = leaseMs) {
  return records.beginAttempt({ uploadId: upload.id, tenant: upload.tenant, partNumber, attemptId, leaseMs: lease });
}

function address(upload: Upload, attemptId: string, partNumber = 1) {
  return { uploadId: upload.id, partNumber, attemptId };
}

/** Whether the upload will compare the store's list before it completes. */
async function isDoubtful(upload: Upload): Promise<boolean> {
  const { rows } = await opened.db.query('select bool_or(doubtful) as doubtful from parts where upload_id = $1', [
    upload.id,
  ]);
  return rows[0].doubtful === true;
}

describe('beginAttempt', () => {
  it('leases an empty slot, and tells the upload', async () => {
    const upload = await openUpload(records);
    const begun = await begin(upload, 'first');
    expect(begun).toMatchObject({ kind: 'begun', upload: { id: upload.id, state: 'open' } });
    expect(begun).toHaveProperty('part', undefined);
    expect(await isDoubtful(upload)).toBe(false);
  });

  it('leases a slot that has a part, tells it and leaves it as it is', async () => {
    const upload = await openUpload(records);
    const part = newPart(1);
    await storePart(records, upload, part);
    expect(await begin(upload, 'again')).toMatchObject({ kind: 'begun', part });
    expect(await findPart(records, upload, 1)).toEqual(part);
  });

  it('names the attempt that has the slot', async () => {
    const upload = await openUpload(records);
    await begin(upload, 'first');
    const second = await begin(upload, 'second');
    expect(second).toMatchObject({ kind: 'occupied', attemptId: 'first' });
    expect(second.kind === 'occupied' && second.retryAfterMs).toBeGreaterThan(0);
  });

  it('does not disturb the other slots', async () => {
    const upload = await openUpload(records);
    await begin(upload, 'first', 1);
    expect(await begin(upload, 'second', 2)).toMatchObject({ kind: 'begun' });
  });

  it('replaces an attempt whose lease ran out, whose part is doubtful from then on', async () => {
    const upload = await openUpload(records);
    await begin(upload, 'first', 1, 0);
    expect(await begin(upload, 'second')).toMatchObject({ kind: 'begun' });
    expect(await isDoubtful(upload)).toBe(true);
    expect(await records.renewAttempt({ ...address(upload, 'first'), leaseMs })).toBe('lost');
  });

  it('lets one of many that begin at once have the slot', async () => {
    const upload = await openUpload(records);
    const begun = await Promise.all([...Array(12).keys()].map((n) => begin(upload, `attempt-${n}`)));
    expect(begun.filter(({ kind }) => kind === 'begun')).toHaveLength(1);
    expect(begun.filter(({ kind }) => kind === 'occupied')).toHaveLength(11);
  });

  it("does not find another tenant's upload, nor one that never was", async () => {
    const upload = await openUpload(records);
    const other = { uploadId: upload.id, tenant: 'another', partNumber: 1, attemptId: 'a', leaseMs };
    expect(await records.beginAttempt(other)).toEqual({ kind: 'not_found' });
    expect(await records.beginAttempt({ ...other, uploadId: 'nobody' })).toEqual({ kind: 'not_found' });
    expect(await begin(upload, 'first')).toMatchObject({ kind: 'begun' });
  });

  it('tells the state of an upload that is not open', async () => {
    const upload = await openUpload(records);
    await records.claimAbort({ id: upload.id, claimId: 'claim', leaseMs, reason: 'requested' });
    expect(await begin(upload, 'late')).toMatchObject({ kind: 'not_open', upload: { state: 'aborting' } });
  });

  it('does not begin under a claim that is being made', async () => {
    const upload = await openUpload(records, { sizeBytes: 10 });
    await storePart(records, upload, newPart(1));
    for (const partNumber of [1, 2]) {
      // What claimCompletion does, held where its transaction has not ended yet.
      await opened.db.query('begin');
      await opened.db.query('select 1 from uploads where id = $1 for update', [upload.id]);
      await opened.db.query("update uploads set state = 'completing' where id = $1", [upload.id]);
      const late = begin(upload, newName(), partNumber);
      await waitUntilBlockedOrDone(late);
      await opened.db.query('commit');
      expect((await late).kind).not.toBe('begun');
      await opened.db.query("update uploads set state = 'open' where id = $1", [upload.id]);
    }
  });
});

/** Until the database shows somebody waiting for a lock, or the work has ended. */
async function waitUntilBlockedOrDone(work: Promise<unknown>): Promise<void> {
  let isDone = false;
  const done = () => {
    isDone = true;
  };
  work.then(done, done);
  await vi.waitUntil(
    async () => {
      const { rowCount } = await opened.db.query(
        "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
      );
      return isDone || rowCount === 1;
    },
    { timeout: 5_000, interval: 5 },
  );
}

describe('renewAttempt', () => {
  it('holds the slot beyond the first lease', async () => {
    const upload = await openUpload(records);
    await begin(upload, 'first', 1, 0);
    expect(await records.renewAttempt({ ...address(upload, 'first'), leaseMs })).toBe('held');
    expect(await begin(upload, 'second')).toMatchObject({ kind: 'occupied', attemptId: 'first' });
  });

  it('is lost with the upload', async () => {
    const upload = await openUpload(records);
    await begin(upload, 'first');
    await records.claimAbort({ id: upload.id, claimId: 'claim', leaseMs, reason: 'requested' });
    expect(await records.renewAttempt({ ...address(upload, 'first'), leaseMs })).toBe('lost');
  });
});

describe('askToYield', () => {
  it('is told at the next renewal, and as news', async () => {
    const upload = await openUpload(records);
    const attemptId = newName();
    await begin(upload, attemptId);
    const heard: string[] = [];
    records.onNews(({ kind, id }) => kind === 'yield' && heard.push(id));
    await records.askToYield(address(upload, attemptId));
    expect(await records.renewAttempt({ ...address(upload, attemptId), leaseMs })).toBe('yield');
    await vi.waitUntil(() => heard.includes(attemptId), { timeout: 5_000, interval: 5 });
  });

  it('is forgotten with the attempt', async () => {
    const upload = await openUpload(records);
    await begin(upload, 'first');
    await records.askToYield(address(upload, 'first'));
    await records.dropAttempt({ ...address(upload, 'first'), uncertain: false });
    await begin(upload, 'second');
    expect(await records.renewAttempt({ ...address(upload, 'second'), leaseMs })).toBe('held');
  });

  it('is forgotten with an attempt whose lease ran out', async () => {
    const upload = await openUpload(records);
    await begin(upload, 'first', 1, 0);
    await records.askToYield(address(upload, 'first'));
    await begin(upload, 'second');
    expect(await records.renewAttempt({ ...address(upload, 'second'), leaseMs })).toBe('held');
  });

  it('leaves another attempt at the slot alone', async () => {
    const upload = await openUpload(records);
    await begin(upload, 'first');
    await records.askToYield(address(upload, 'gone'));
    expect(await records.renewAttempt({ ...address(upload, 'first'), leaseMs })).toBe('held');
  });
});

describe('askOlderToYield', () => {
  async function asks(upload: Upload, attemptId: string, ageMs: number): Promise<boolean> {
    const heard: string[] = [];
    records.onNews(({ kind, id }) => kind === 'yield' && heard.push(id));
    await records.askOlderToYield({ ...address(upload, attemptId), ageMs });
    const end = newName();
    // News come in their order.
    await records.askWriterToYield(end);
    await vi.waitUntil(() => heard.includes(end), { timeout: 5_000, interval: 5 });
    return heard.includes(attemptId);
  }

  it('asks an attempt at a part that is older, and no other', async () => {
    const upload = await openUpload(records);
    const attemptId = newName();
    await begin(upload, attemptId);
    expect(await asks(upload, attemptId, 60_000)).toBe(false);
    expect(await records.renewAttempt({ ...address(upload, attemptId), leaseMs })).toBe('held');
    expect(await asks(upload, attemptId, -1)).toBe(true);
    expect(await records.renewAttempt({ ...address(upload, attemptId), leaseMs })).toBe('yield');
  });

  it('knows the age of an attempt that took over', async () => {
    const upload = await openUpload(records);
    await begin(upload, 'first', 1, 0);
    await opened.db.query(`update parts set attempt_since = now() - interval '1 day' where upload_id = $1`, [
      upload.id,
    ]);
    const attemptId = newName();
    await begin(upload, attemptId);
    expect(await asks(upload, attemptId, 60_000)).toBe(false);
  });

  it('asks one at a range', async () => {
    const upload = await openUpload(records);
    const attemptId = newName();
    await opened.db.query(
      `insert into fragments (id, upload_id, part_number, "offset", size, state, staging_key, attempt_id, lease_until)
         values ($2, $1, 1, 0, 10, 'pending', 'key', $2, now() + interval '1 minute')`,
      [upload.id, attemptId],
    );
    expect(await asks(upload, attemptId, 60_000)).toBe(false);
    expect(await asks(upload, attemptId, -1)).toBe(true);
  });
});

describe('dropAttempt', () => {
  it('frees the slot at once', async () => {
    const upload = await openUpload(records);
    await begin(upload, 'first');
    await records.dropAttempt({ ...address(upload, 'first'), uncertain: false });
    expect(await begin(upload, 'second')).toMatchObject({ kind: 'begun' });
    expect(await isDoubtful(upload)).toBe(false);
  });

  it('remembers an attempt whose fate is unknown', async () => {
    const upload = await openUpload(records);
    await begin(upload, 'first');
    await records.dropAttempt({ ...address(upload, 'first'), uncertain: true });
    expect(await isDoubtful(upload)).toBe(true);
  });

  it('does nothing to the attempt that came after', async () => {
    const upload = await openUpload(records);
    await begin(upload, 'first', 1, 0);
    await begin(upload, 'second');
    await records.dropAttempt({ ...address(upload, 'first'), uncertain: false });
    expect(await begin(upload, 'third')).toMatchObject({ kind: 'occupied', attemptId: 'second' });
  });
});
