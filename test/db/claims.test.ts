import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Upload } from '../../src/core/upload.ts';
import type { NewUpload, UploadRecords } from '../../src/core/upload-records.ts';
import {
  leaseMs,
  look,
  newName,
  newPart,
  newUpload,
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

const retentionMs = 60_000;

/** An upload whose two parts are durable. */
async function covered(changes: Partial<NewUpload> = {}): Promise<Upload> {
  const upload = await openUpload(records, { sizeBytes: 20, ...changes });
  await storePart(records, upload, newPart(1));
  await storePart(records, upload, newPart(2));
  return upload;
}

function claimCompletion({ id }: Upload, changes: { claimId?: string; leaseMs?: number; sizeBytes?: number } = {}) {
  return records.claimCompletion({ id, claimId: newName(), leaseMs, ...changes });
}

function claimAbort({ id }: Upload, changes: { claimId?: string; leaseMs?: number } = {}) {
  return records.claimAbort({ id, claimId: newName(), leaseMs, reason: 'requested', ...changes });
}

function begin(upload: Upload, attemptId: string, partNumber: number, lease = leaseMs) {
  return records.beginAttempt({ uploadId: upload.id, tenant: upload.tenant, partNumber, attemptId, leaseMs: lease });
}

describe('claimCompletion', () => {
  it('claims an upload whose bytes are all durable', async () => {
    const upload = await covered();
    expect(await claimCompletion(upload)).toMatchObject({
      kind: 'claimed',
      doubtful: false,
      upload: { state: 'completing', sizeBytes: 20 },
    });
    expect(await claimCompletion(upload)).toMatchObject({ kind: 'not_open', upload: { state: 'completing' } });
  });

  it('lets one of many that claim at once have it', async () => {
    const upload = await covered();
    const claims = await Promise.all([...Array(8).keys()].map(() => claimCompletion(upload)));
    expect(claims.filter(({ kind }) => kind === 'claimed')).toHaveLength(1);
    expect(claims.filter(({ kind }) => kind === 'not_open')).toHaveLength(7);
  });

  it('refuses while bytes are missing', async () => {
    const upload = await openUpload(records, { sizeBytes: 30 });
    await storePart(records, upload, newPart(1));
    await storePart(records, upload, newPart(3));
    expect(await claimCompletion(upload)).toMatchObject({ kind: 'incomplete', upload: { state: 'open' } });
    await storePart(records, upload, newPart(2));
    expect(await claimCompletion(upload)).toMatchObject({ kind: 'claimed' });
  });

  it('refuses another size than the one expected', async () => {
    const known = await covered();
    expect(await claimCompletion(known, { sizeBytes: 19 })).toMatchObject({ kind: 'incomplete' });
    const unknown = await covered({ sizeBytes: undefined });
    expect(await claimCompletion(unknown, { sizeBytes: 30 })).toMatchObject({ kind: 'incomplete' });
    expect(await claimCompletion(unknown, { sizeBytes: 20 })).toMatchObject({ kind: 'claimed' });
  });

  it('makes the contiguous bytes the size where that is unknown', async () => {
    const upload = await covered({ sizeBytes: undefined });
    expect(await claimCompletion(upload)).toMatchObject({ kind: 'claimed', upload: { sizeBytes: 20 } });
  });

  it('refuses a hole where the size is unknown', async () => {
    const upload = await openUpload(records);
    await storePart(records, upload, newPart(2));
    expect(await claimCompletion(upload)).toMatchObject({ kind: 'incomplete' });
    expect(await claimCompletion(upload, { sizeBytes: 10 })).toMatchObject({ kind: 'incomplete' });
  });

  it('wants a part, or a size of 0, of an empty upload', async () => {
    const upload = await openUpload(records);
    expect(await claimCompletion(upload)).toMatchObject({ kind: 'incomplete' });
    expect(await claimCompletion(upload, { sizeBytes: 0 })).toMatchObject({ kind: 'claimed' });
  });

  it('asks a live attempt to yield, and is busy until it has', async () => {
    const upload = await covered();
    await begin(upload, 'again', 1);
    expect(await claimCompletion(upload)).toMatchObject({ kind: 'busy' });
    const attempt = { uploadId: upload.id, partNumber: 1, attemptId: 'again' };
    expect(await records.renewAttempt({ ...attempt, leaseMs })).toBe('yield');
    await records.dropAttempt({ ...attempt, uncertain: false });
    expect(await claimCompletion(upload)).toMatchObject({ kind: 'claimed', doubtful: false });
  });

  it('ends attempts whose lease ran out, and doubts their parts', async () => {
    const upload = await covered();
    await begin(upload, 'dead', 2, 0);
    expect(await claimCompletion(upload)).toMatchObject({ kind: 'claimed', doubtful: true });
    const late = { uploadId: upload.id, attemptId: 'dead', part: newPart(2), fixesSize: false };
    expect(await records.commitPart(late)).toEqual({ kind: 'not_open' });
  });

  it('doubts an upload with signed URLs, or with an attempt of unknown fate', async () => {
    const signed = await covered();
    await records.markSigned(signed.id);
    expect(await claimCompletion(signed)).toMatchObject({ doubtful: true });
    const uncertain = await covered();
    await begin(uncertain, 'cut', 1);
    await records.dropAttempt({ uploadId: uncertain.id, partNumber: 1, attemptId: 'cut', uncertain: true });
    expect(await claimCompletion(uncertain)).toMatchObject({ doubtful: true });
  });

  it('lets one upload to a key complete at a time', async () => {
    const storeKey = newName();
    const [first, second, elsewhere] = [
      await covered({ storeKey }),
      await covered({ storeKey }),
      await covered({ storeKey, bucket: 'another' }),
    ];
    const claims = await Promise.all([claimCompletion(first), claimCompletion(second)]);
    expect(claims.map(({ kind }) => kind).sort()).toEqual(['busy', 'claimed']);
    expect(await claimCompletion(elsewhere)).toMatchObject({ kind: 'claimed' });
    const [winner, loser] = claims[0]?.kind === 'claimed' ? [first, second] : [second, first];
    await opened.db.query("update uploads set claim_id = 'known' where id = $1", [winner.id]);
    await records.finishCompletion({ id: winner.id, claimId: 'known', etag: '"e"', retentionMs, isStaged: false });
    expect(await claimCompletion(loser)).toMatchObject({ kind: 'claimed' });
  });

  it('and a commit that races it: either the part counts, or it is refused', async () => {
    for (let round = 0; round < 30; round++) {
      const upload = await openUpload(records);
      await storePart(records, upload, newPart(1));
      await begin(upload, 'second', 2, 0);
      const commit = { uploadId: upload.id, attemptId: 'second', part: newPart(2), fixesSize: false };
      const [committed, claim] = await Promise.all([records.commitPart(commit), claimCompletion(upload)]);
      expect(claim.kind).toBe('claimed');
      const counted = committed.kind === 'committed';
      expect(committed.kind).toBe(counted ? 'committed' : 'not_open');
      expect(claim.upload).toMatchObject({ sizeBytes: counted ? 20 : 10, receivedBytes: counted ? 20 : 10 });
      expect(claim.kind === 'claimed' && claim.doubtful).toBe(!counted);
    }
  });

  it('and an attempt that races it: never both', async () => {
    for (let round = 0; round < 40; round++) {
      const upload = await covered();
      const [begun, claim] = await Promise.all([begin(upload, 'racing', 1), claimCompletion(upload)]);
      expect([begun.kind, claim.kind]).not.toEqual(['begun', 'claimed']);
    }
  });
});

describe('takeClaim, renewClaim and releaseClaim', () => {
  it('leave a live claim to its owner', async () => {
    const upload = await covered();
    await claimCompletion(upload, { claimId: 'owner' });
    expect(await records.takeClaim({ id: upload.id, claimId: 'other', leaseMs })).toBeUndefined();
    expect(await records.renewClaim({ id: upload.id, claimId: 'other', leaseMs })).toBe(false);
    expect(await records.renewClaim({ id: upload.id, claimId: 'owner', leaseMs })).toBe(true);
  });

  it('give a claim that ran out to one of many', async () => {
    const upload = await covered();
    await claimCompletion(upload, { claimId: 'dead', leaseMs: 0 });
    const taken = await Promise.all(
      [...Array(8).keys()].map((n) => records.takeClaim({ id: upload.id, claimId: `heir-${n}`, leaseMs })),
    );
    expect(taken.filter((claim) => claim !== undefined)).toHaveLength(1);
    expect(await records.renewClaim({ id: upload.id, claimId: 'dead', leaseMs })).toBe(false);
    expect(
      await records.finishCompletion({ id: upload.id, claimId: 'dead', etag: '"e"', retentionMs, isStaged: false }),
    ).toBe(undefined);
    expect(await records.reopen({ id: upload.id, claimId: 'dead' })).toBeUndefined();
    expect(await records.finishAbort({ id: upload.id, claimId: 'dead', retentionMs, reason: 'lost' })).toBeUndefined();
    expect((await look(records, upload)).state).toBe('completing');
  });

  it('give a claim away that its owner released', async () => {
    const upload = await covered();
    await claimCompletion(upload, { claimId: 'owner' });
    await records.releaseClaim({ id: upload.id, claimId: 'other' });
    expect(await records.takeClaim({ id: upload.id, claimId: 'heir', leaseMs })).toBeUndefined();
    await records.releaseClaim({ id: upload.id, claimId: 'owner' });
    expect(await records.takeClaim({ id: upload.id, claimId: 'heir', leaseMs })).toMatchObject({ id: upload.id });
  });

  it('know nothing of uploads that nobody claimed', async () => {
    const upload = await covered();
    expect(await records.takeClaim({ id: upload.id, claimId: 'heir', leaseMs })).toBeUndefined();
  });
});

describe('finishCompletion, reopen and finishAbort', () => {
  it('complete what was claimed, once', async () => {
    const upload = await covered();
    await claimCompletion(upload, { claimId: 'owner' });
    const completed = await records.finishCompletion({
      id: upload.id,
      claimId: 'owner',
      etag: '"e"',
      retentionMs,
      isStaged: false,
    });
    expect(completed).toMatchObject({ state: 'completed', etag: '"e"', completedAt: expect.any(Date) });
    expect(completed!.expiresAt.getTime() - completed!.completedAt!.getTime()).toBe(retentionMs);
    expect(
      await records.finishCompletion({ id: upload.id, claimId: 'owner', etag: '"f"', retentionMs, isStaged: false }),
    ).toBe(undefined);
    expect(await claimAbort(upload)).toMatchObject({ kind: 'not_open', upload: { state: 'completed' } });
  });

  it('reopen what the store refused', async () => {
    const upload = await covered();
    await claimCompletion(upload, { claimId: 'owner' });
    expect(await records.reopen({ id: upload.id, claimId: 'owner' })).toMatchObject({ state: 'open' });
    expect(await records.reopen({ id: upload.id, claimId: 'owner' })).toBeUndefined();
    expect(await claimCompletion(upload)).toMatchObject({ kind: 'claimed' });
  });

  it('reopen with the size that was known before', async () => {
    const upload = await covered({ sizeBytes: undefined, layout: { kind: 'free' } });
    await claimCompletion(upload, { claimId: 'owner' });
    expect(await records.reopen({ id: upload.id, claimId: 'owner' })).toMatchObject({ sizeBytes: undefined });
  });

  it('end an upload as lost, and leave its reason', async () => {
    const upload = await covered();
    await claimCompletion(upload, { claimId: 'owner' });
    const lost = await records.finishAbort({ id: upload.id, claimId: 'owner', retentionMs, reason: 'lost' });
    expect(lost).toMatchObject({ state: 'aborted', reason: 'lost' });
  });

  it('abort what was claimed for it, with the reason of the claim', async () => {
    const upload = await covered();
    expect(await claimAbort(upload, { claimId: 'owner' })).toMatchObject({
      kind: 'claimed',
      upload: { state: 'aborting', reason: 'requested' },
    });
    expect(await claimAbort(upload)).toMatchObject({ kind: 'busy' });
    expect(await records.finishAbort({ id: upload.id, claimId: 'other', retentionMs })).toBeUndefined();
    expect(await records.finishAbort({ id: upload.id, claimId: 'owner', retentionMs })).toMatchObject({
      state: 'aborted',
      reason: 'requested',
    });
    expect(await claimAbort(upload)).toMatchObject({ kind: 'not_open', upload: { state: 'aborted' } });
  });

  it('let an abort be joined whose owner died, for the first reason', async () => {
    const upload = await covered();
    await claimAbort(upload, { leaseMs: 0 });
    const joined = await records.claimAbort({ id: upload.id, claimId: 'heir', leaseMs, reason: 'lost' });
    expect(joined).toMatchObject({ kind: 'claimed', upload: { reason: 'requested' } });
  });
});

describe('claimAbort', () => {
  it('does not abort what is completing', async () => {
    const upload = await covered();
    await claimCompletion(upload, { leaseMs: 0 });
    expect(await claimAbort(upload)).toMatchObject({ kind: 'not_open', upload: { state: 'completing' } });
  });

  it('ends live attempts', async () => {
    const upload = await openUpload(records);
    await begin(upload, 'live', 1);
    await claimAbort(upload);
    expect(await records.renewAttempt({ uploadId: upload.id, partNumber: 1, attemptId: 'live', leaseMs })).toBe('lost');
  });

  it('knows nothing of an upload that never was', async () => {
    expect(await records.claimAbort({ id: 'nobody', claimId: 'c', leaseMs, reason: 'requested' })).toEqual({
      kind: 'not_open',
      upload: undefined,
    });
  });
});

describe('claimDue', () => {
  const drain = async () => {
    while ((await records.claimDue({ claimId: 'drain', leaseMs, limit: 1000 })).length > 0);
  };

  it('takes what needs the reaper, and says which work it is', async () => {
    await drain();
    const creating = (await records.insert(newUpload({ leaseMs: 0 }))).upload;
    const expired = await openUpload(records, { lifetimeMs: 0 });
    await begin(expired, 'live', 1);
    const completing = await covered();
    await claimCompletion(completing, { leaseMs: 0 });
    const aborting = await covered();
    await claimAbort(aborting, { leaseMs: 0 });
    const healthy = await covered();
    const busy = await covered();
    await claimCompletion(busy);

    const due = await records.claimDue({ claimId: 'reaper', leaseMs, limit: 100 });
    const works = new Map(due.map(({ work, upload }) => [upload.id, work]));
    expect(works).toEqual(
      new Map([
        [creating.id, 'close_uncreated'],
        [expired.id, 'abort'],
        [completing.id, 'complete'],
        [aborting.id, 'abort'],
      ]),
    );
    expect(await look(records, expired)).toMatchObject({ state: 'aborting', reason: 'expired' });
    expect(await records.renewAttempt({ uploadId: expired.id, partNumber: 1, attemptId: 'live', leaseMs })).toBe(
      'lost',
    );
    expect((await look(records, healthy)).state).toBe('open');
    expect(await records.claimDue({ claimId: 'second', leaseMs, limit: 100 })).toEqual([]);
  });

  it('gives each row to one of two reapers', async () => {
    await drain();
    for (let n = 0; n < 30; n++) await records.insert(newUpload({ leaseMs: 0 }));
    const rounds = await Promise.all(
      [...Array(8).keys()].map((n) => records.claimDue({ claimId: `reaper-${n}`, leaseMs, limit: 10 })),
    );
    const ids = rounds.flat().map(({ upload }) => upload.id);
    expect(new Set(ids).size).toBe(ids.length);
    ids.push(...(await records.claimDue({ claimId: 'last', leaseMs, limit: 100 })).map(({ upload }) => upload.id));
    expect(new Set(ids).size).toBe(30);
  });

  it('does not keep coming back to work that fails while other work waits', async () => {
    await drain();
    const failing = new Set<string>();
    for (let n = 0; n < 5; n++) {
      const upload = await covered();
      await claimCompletion(upload, { leaseMs: 0 });
      failing.add(upload.id);
    }
    const waiting = await covered();
    await claimCompletion(waiting, { leaseMs: 0 });
    const seen = new Set<string>();
    for (let round = 0; round < 3; round++) {
      const claimId = `round-${round}`;
      for (const { upload } of await records.claimDue({ claimId, leaseMs, limit: 5 })) {
        seen.add(upload.id);
        if (failing.has(upload.id)) await records.releaseClaim({ id: upload.id, claimId });
      }
    }
    expect(seen).toContain(waiting.id);
  });
});

describe('deleteOutdated', () => {
  it('deletes ended rows whose retention is over, with their parts, and no others', async () => {
    const ended = await covered();
    await claimCompletion(ended, { claimId: 'a' });
    await records.finishCompletion({ id: ended.id, claimId: 'a', etag: '"e"', retentionMs: 0, isStaged: false });
    const kept = await covered();
    await claimCompletion(kept, { claimId: 'b' });
    await records.finishCompletion({ id: kept.id, claimId: 'b', etag: '"e"', retentionMs, isStaged: false });
    const open = await openUpload(records, { lifetimeMs: 0 });

    expect(await records.deleteOutdated(1000)).toBeGreaterThanOrEqual(1);
    expect(await records.find(ended.tenant, ended.id)).toBeUndefined();
    expect(await records.listParts(ended.id, { after: 0, limit: 10 })).toEqual([]);
    expect(await records.find(kept.tenant, kept.id)).toBeDefined();
    expect(await records.find(open.tenant, open.id)).toBeDefined();
    expect(await records.deleteOutdated(1000)).toBe(0);
  });
});
