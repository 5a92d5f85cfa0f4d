import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Upload } from '../../src/core/upload.ts';
import { until } from '../support/chunk-client.ts';
import { leaseMs, openRecords, openUpload, type RecordsUnderTest } from './records-under-test.ts';

let opened: RecordsUnderTest;
let records: RecordsUnderTest['records'];

beforeAll(async () => {
  opened = await openRecords();
  records = opened.records;
});

afterAll(async () => {
  await opened?.[Symbol.asyncDispose]();
});

async function waitingFor(...sources: Upload[]): Promise<Upload> {
  return openUpload(records, { sources: sources.map(({ id }) => id), isSelfCompleting: true });
}

async function due(): Promise<string[]> {
  return (await records.claimWork({ leaseMs, limit: 1000 })).map(({ id }) => id);
}

async function abort({ id }: Upload): Promise<void> {
  await records.claimAbort({ id, claimId: 'owner', leaseMs, reason: 'requested' });
  await records.finishAbort({ id, claimId: 'owner', retentionMs: 0 });
}

async function complete({ id }: Upload): Promise<void> {
  await records.claimCompletion({ id, claimId: 'owner', leaseMs, sizeBytes: 0 });
  await records.finishCompletion({ id, claimId: 'owner', etag: '"e"', retentionMs: 0, isStaged: true });
}

describe('awaitSources', () => {
  it.each([
    ['completes', complete],
    ['is aborted', abort],
  ])('makes the upload due when a source of it %s, and not before', async (_, end) => {
    const [source, other] = [await openUpload(records), await openUpload(records)];
    const [one, two, unconcerned] = [
      await waitingFor(source, other),
      await waitingFor(source),
      await waitingFor(other),
    ];
    for (const { id } of [one, two, unconcerned]) await records.awaitSources(id);
    expect(await due()).toEqual([]);
    await end(source);
    expect((await due()).sort()).toEqual([one.id, two.id].sort());
  });

  it('makes it due at once where all have completed, or one has ended without an object', async () => {
    const [completed, aborted, open] = [
      await openUpload(records),
      await openUpload(records),
      await openUpload(records),
    ];
    await complete(completed);
    await abort(aborted);
    const [ready, gone] = [await waitingFor(completed, completed), await waitingFor(completed, open, aborted)];
    for (const { id } of [ready, gone]) await records.awaitSources(id);
    expect((await due()).sort()).toEqual([ready.id, gone.id].sort());
  });

  it('misses no source that is just ending', async () => {
    const source = await openUpload(records);
    const final = await waitingFor(source);
    await opened.db.query('begin');
    await opened.db.query("update uploads set state = 'completed' where id = $1", [source.id]);
    const waited = records.awaitSources(final.id);
    await until('it waits for the lock', 10_000, async () => {
      const { rows } = await opened.db.query(
        "select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
      );
      return rows.length > 0 ? true : undefined;
    });
    await opened.db.query('commit');
    await waited;
    expect(await due()).toEqual([final.id]);
  });
});

describe('claimRetired', () => {
  it('takes the object of a completed source only when no upload is to be put together of it any more', async () => {
    const source = await openUpload(records);
    await complete(source);
    const final = await waitingFor(source);
    const retired = async () => (await records.claimRetired({ leaseMs: 0, limit: 1000 })).map(({ id }) => id);
    expect(await retired()).not.toContain(source.id);
    await abort(final);
    expect(await retired()).toContain(source.id);
  });
});
