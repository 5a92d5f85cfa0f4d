import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Upload } from '../../src/core/upload.ts';
import type { ListCursor, NewUpload, UploadFilter, UploadRecords } from '../../src/core/upload-records.ts';
import {
  leaseMs,
  look,
  newName,
  newUpload,
  openRecords,
  openUpload,
  type RecordsUnderTest,
} from './records-under-test.ts';

let opened: RecordsUnderTest;
let records: UploadRecords;
beforeAll(async () => {
  opened = await openRecords();
  records = opened.records;
});
afterAll(() => opened[Symbol.asyncDispose]());

function idempotent(key: string, changes: Partial<NewUpload> = {}): NewUpload {
  return newUpload({ idempotency: { key, requestHash: 'hash' }, ...changes });
}

describe('insert and open', () => {
  it('write down what was asked for, and give it back as it was', async () => {
    const asked = newUpload({
      sizeBytes: 48 * 1024 ** 4,
      layout: { kind: 'planned', partSizeBytes: 5 * 1024 ** 3, growEvery: 909, maxPartSizeBytes: 6 * 1024 ** 3 },
      key: "it's “odd”; drop table uploads",
      contentType: 'text/plain; charset=utf-8',
      metadata: { filename: 'naïve.txt', empty: '' },
      digest: { algorithm: 'crc32', value: 'AAAAAA==' },
      ifNoneMatch: true,
    });
    const { idempotency: _, lifetimeMs, leaseMs: __, sessionHash: ___, ...facts } = asked;
    const inserted = await records.insert(asked);
    expect(inserted).toMatchObject({
      kind: 'inserted',
      upload: { ...facts, state: 'creating', offset: 0, contiguousParts: 0, receivedBytes: 0, signed: false },
    });
    const { createdAt, expiresAt, storeUploadId } = inserted.upload;
    expect(expiresAt.getTime() - createdAt.getTime()).toBe(lifetimeMs);
    expect(storeUploadId).toBeUndefined();
    const open = await records.open({ id: asked.id, storeUploadId: 'at the store', keepsMs: undefined });
    expect(open).toMatchObject({ ...facts, state: 'open', storeUploadId: 'at the store', expiresAt });
    expect(await look(records, open!)).toEqual(open);
  });

  it('keep the free layout and an unknown size apart from others', async () => {
    const { upload } = await records.insert(newUpload({ layout: { kind: 'free' } }));
    expect(upload.layout).toEqual({ kind: 'free' });
    expect(upload.sizeBytes).toBeUndefined();
    expect((await records.insert(newUpload({ sizeBytes: 0 }))).upload.sizeBytes).toBe(0);
  });

  it('let no upload live longer than the store keeps it', async () => {
    const lifetimeMs = 3_600_000;
    const short = await records.insert(newUpload({ lifetimeMs }));
    const cut = await records.open({ id: short.upload.id, storeUploadId: 's', keepsMs: 60_000 });
    expect(cut!.expiresAt.getTime() - cut!.updatedAt.getTime()).toBe(60_000);
    const long = await records.insert(newUpload({ lifetimeMs }));
    const kept = await records.open({ id: long.upload.id, storeUploadId: 's', keepsMs: 2 * lifetimeMs });
    expect(kept!.expiresAt).toEqual(long.upload.expiresAt);
  });

  it('open once, and nothing that was closed', async () => {
    const { upload } = await records.insert(newUpload());
    const opens = [...Array(6).keys()].map((n) =>
      records.open({ id: upload.id, storeUploadId: `try-${n}`, keepsMs: undefined }),
    );
    expect((await Promise.all(opens)).filter((won) => won !== undefined)).toHaveLength(1);
    const closed = await records.insert(newUpload());
    await records.closeUncreated(closed.upload.id);
    expect(await records.open({ id: closed.upload.id, storeUploadId: 's', keepsMs: undefined })).toBeUndefined();
    expect(await look(records, closed.upload)).toMatchObject({ state: 'aborted', reason: 'not_created' });
  });

  it('are not undone by a close that comes late', async () => {
    const upload = await openUpload(records);
    await records.closeUncreated(upload.id);
    expect((await look(records, upload)).state).toBe('open');
  });

  it('are left to the reaper from the end of the lease on', async () => {
    const { upload } = await records.insert(newUpload({ leaseMs: 0 }));
    const due = await records.claimDue({ claimId: newName(), leaseMs, limit: 100 });
    expect(due.map((item) => item.upload.id)).toEqual([upload.id]);
    await records.open({ id: upload.id, storeUploadId: 's', keepsMs: undefined });
    expect(await records.claimDue({ claimId: newName(), leaseMs: 0, limit: 100 })).toEqual([]);
  });
});

describe('an idempotency key', () => {
  it('gives all who come at once the upload of the first', async () => {
    const key = newName();
    const outcomes = await Promise.all([...Array(12).keys()].map(() => records.insert(idempotent(key))));
    const [inserted, ...more] = outcomes.filter(({ kind }) => kind === 'inserted');
    expect(more).toEqual([]);
    expect(new Set(outcomes.map(({ upload }) => upload.id))).toEqual(new Set([inserted!.upload.id]));
    const { rowCount } = await opened.db.query('select from uploads where idempotency_key = $1', [key]);
    expect(rowCount).toBe(1);
  });

  it('comes back with the hash of the first request', async () => {
    const key = newName();
    const first = await records.insert(idempotent(key, { idempotency: { key, requestHash: 'first' } }));
    const second = await records.insert(idempotent(key, { idempotency: { key, requestHash: 'second' } }));
    expect(second).toEqual({ kind: 'existing', upload: first.upload, requestHash: 'first' });
  });

  it('is each tenant’s own, and uploads without one are never the same', async () => {
    const key = newName();
    await records.insert(idempotent(key));
    expect((await records.insert(idempotent(key, { tenant: 'another' }))).kind).toBe('inserted');
    expect((await records.insert(newUpload())).kind).toBe('inserted');
    expect((await records.insert(newUpload())).kind).toBe('inserted');
  });

  it('is free again once its creation has failed, and never while it may succeed', async () => {
    for (let round = 0; round < 20; round++) {
      const key = newName();
      const { upload } = await records.insert(idempotent(key));
      const [, again] = await Promise.all([
        records.closeUncreated(upload.id),
        records.insert(idempotent(key)).catch((error: unknown) => ({ kind: 'failed', error })),
      ]);
      if (again.kind === 'failed') expect(again).toMatchObject({ error: { code: 'records_unavailable' } });
      expect((await records.insert(idempotent(key))).kind).toBe(again.kind === 'inserted' ? 'existing' : 'inserted');
    }
  });
});

describe('find', () => {
  it("shows no tenant another's upload", async () => {
    const upload = await openUpload(records);
    expect(await records.find('tenant', upload.id)).toEqual(upload);
    expect(await records.find('another', upload.id)).toBeUndefined();
    expect(await records.find('tenant', 'nobody')).toBeUndefined();
  });
});

describe('list', () => {
  async function idsOf(filter: UploadFilter): Promise<string[]> {
    return (await records.list(filter, { limit: 100 })).uploads.map(({ id }) => id);
  }

  /** Every page of them, `limit` at a time. */
  async function paged(filter: UploadFilter, limit: number): Promise<string[][]> {
    const pages: string[][] = [];
    let after: ListCursor | undefined;
    do {
      const page = await records.list(filter, { after, limit });
      pages.push(page.uploads.map(({ id }) => id));
      after = page.next;
    } while (after !== undefined);
    return pages;
  }

  async function openMany(count: number, tenant: string): Promise<Upload[]> {
    const made: Upload[] = [];
    for (let n = 0; n < count; n++) made.push(await openUpload(records, { tenant }));
    return made;
  }

  it('shows the newest first', async () => {
    const tenant = newName();
    const made = await openMany(3, tenant);
    expect(await idsOf({ tenant })).toEqual(made.map(({ id }) => id).reverse());
  });

  it('goes on where a page ended, though all were made at the same microsecond', async () => {
    const tenant = newName();
    const ids = (await openMany(7, tenant)).map(({ id }) => id);
    await opened.db.query("update uploads set created_at = '2026-11-23 12:00:00.123457Z' where tenant = $1", [tenant]);
    const pages = await paged({ tenant }, 3);
    expect(pages.map(({ length }) => length)).toEqual([3, 3, 1]);
    expect(pages.flat()).toEqual(ids.sort().reverse());
  });

  it('goes on between microseconds that a millisecond would take for one', async () => {
    const tenant = newName();
    const made = await openMany(6, tenant);
    for (const [index, { id }] of made.entries()) {
      await opened.db.query('update uploads set created_at = $2 where id = $1', [
        id,
        `2026-11-23 12:00:00.12300${index}Z`,
      ]);
    }
    expect((await paged({ tenant }, 2)).flat()).toEqual(made.map(({ id }) => id).reverse());
  });

  it('neither repeats nor skips when newer ones come between two pages', async () => {
    const tenant = newName();
    const made = await openMany(4, tenant);
    const first = await records.list({ tenant }, { limit: 2 });
    await openMany(2, tenant);
    const rest = await records.list({ tenant }, { after: first.next, limit: 10 });
    expect([...first.uploads, ...rest.uploads].map(({ id }) => id)).toEqual(made.map(({ id }) => id).reverse());
    expect(rest.next).toBeUndefined();
  });

  it('names no next page after one that is just full', async () => {
    const tenant = newName();
    await openMany(2, tenant);
    expect((await records.list({ tenant }, { limit: 2 })).next).toBeUndefined();
  });

  it('filters by state, bucket and prefix, all of which must hold', async () => {
    const tenant = newName();
    const a = await openUpload(records, { tenant, bucket: 'one', key: 'logs/a' });
    const b = await openUpload(records, { tenant, bucket: 'two', key: 'logs/b' });
    const c = await openUpload(records, { tenant, bucket: 'two', key: 'other/c' });
    await records.claimAbort({ id: c.id, claimId: newName(), leaseMs, reason: 'requested' });
    expect(await idsOf({ tenant, state: 'open' })).toEqual([b.id, a.id]);
    expect(await idsOf({ tenant, state: 'aborting' })).toEqual([c.id]);
    expect(await idsOf({ tenant, bucket: 'two' })).toEqual([c.id, b.id]);
    expect(await idsOf({ tenant, keyPrefix: 'logs/' })).toEqual([b.id, a.id]);
    expect(await idsOf({ tenant, bucket: 'two', keyPrefix: 'logs/' })).toEqual([b.id]);
    expect(await idsOf({ tenant, grantedBucket: 'one' })).toEqual([a.id]);
    expect(await idsOf({ tenant, bucket: 'two', grantedBucket: 'one' })).toEqual([]);
    expect(await idsOf({ tenant, keyPrefix: 'other/', grantedKeyPrefix: 'logs/' })).toEqual([]);
    expect(await idsOf({ tenant, keyPrefix: 'logs/b', grantedKeyPrefix: 'logs/' })).toEqual([b.id]);
    expect(await idsOf({ tenant: newName() })).toEqual([]);
  });

  it('takes no character of a prefix for a pattern', async () => {
    const tenant = newName();
    const odd = await openUpload(records, { tenant, key: '100%_done\\x' });
    await openUpload(records, { tenant, key: '1000 done' });
    expect(await idsOf({ tenant, keyPrefix: '100%' })).toEqual([odd.id]);
    expect(await idsOf({ tenant, keyPrefix: '100%_done\\' })).toEqual([odd.id]);
    expect(await idsOf({ tenant, keyPrefix: '____' })).toEqual([]);
  });

  it('leaves out what is still being created, unless asked for it', async () => {
    const tenant = newName();
    const { upload } = await records.insert(newUpload({ tenant }));
    expect(await idsOf({ tenant })).toEqual([]);
    expect(await idsOf({ tenant, state: 'creating' })).toEqual([upload.id]);
  });
});
