import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Part, Upload } from '../../src/core/upload.ts';
import type { AdoptedPart, UploadRecords } from '../../src/core/upload-records.ts';
import {
  findPart,
  leaseMs,
  look,
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

/** What the counters must be, from the parts alone. */
function countersOf(parts: Iterable<Part>) {
  const byNumber = new Map([...parts].map((part) => [part.partNumber, part]));
  let contiguousParts = 0;
  let offset = 0;
  for (let next = byNumber.get(1); next !== undefined; next = byNumber.get(contiguousParts + 1)) {
    contiguousParts = next.partNumber;
    offset += next.sizeBytes;
  }
  const receivedBytes = [...byNumber.values()].reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  return { contiguousParts, offset, receivedBytes };
}

/** Another lane may be at the same slot. */
async function storeIfVacant(upload: Upload, { partNumber, sizeBytes }: Part): Promise<void> {
  const attemptId = newName();
  const address = { uploadId: upload.id, partNumber, attemptId };
  const { kind } = await records.beginAttempt({ ...address, tenant: upload.tenant, leaseMs });
  if (kind === 'occupied') return;
  const part = newPart(partNumber, { offset: undefined, sizeBytes });
  const committed = await records.commitPart({ uploadId: upload.id, attemptId, part, fixesSize: false });
  expect(committed.kind).toBe('committed');
}

async function allParts(upload: Upload): Promise<readonly Part[]> {
  return records.listParts(upload.id, { after: 0, limit: 1000 });
}

describe('commitPart', () => {
  it('records the part as it was given, and ends its attempt', async () => {
    const upload = await openUpload(records);
    const part = newPart(1, { digests: { crc32: 'AAAAAA==', md5: 'bWQ1' } });
    expect(await storePart(records, upload, part)).toEqual({ kind: 'committed', offset: 10 });
    expect(await findPart(records, upload, 1)).toEqual(part);
    expect(await look(records, upload)).toMatchObject({ offset: 10, contiguousParts: 1, receivedBytes: 10 });
    expect(await storePart(records, upload, newPart(1))).toMatchObject({ kind: 'committed' });
  });

  it('does not move the offset over a hole, and jumps when it is filled', async () => {
    const upload = await openUpload(records);
    await storePart(records, upload, newPart(2));
    await storePart(records, upload, newPart(4));
    expect(await look(records, upload)).toMatchObject({ offset: 0, contiguousParts: 0, receivedBytes: 20 });
    expect(await storePart(records, upload, newPart(1))).toEqual({ kind: 'committed', offset: 20 });
    expect(await look(records, upload)).toMatchObject({ offset: 20, contiguousParts: 2, receivedBytes: 30 });
  });

  it('counts a part that is replaced once', async () => {
    const upload = await openUpload(records, { layout: { kind: 'free' } });
    await storePart(records, upload, newPart(1, { offset: undefined, sizeBytes: 7 }));
    await storePart(records, upload, newPart(1, { offset: undefined, sizeBytes: 9 }));
    expect(await look(records, upload)).toMatchObject({ offset: 9, contiguousParts: 1, receivedBytes: 9 });
  });

  it('refuses an attempt that was replaced', async () => {
    const upload = await openUpload(records);
    const begin = { uploadId: upload.id, tenant: upload.tenant, partNumber: 1 };
    await records.beginAttempt({ ...begin, attemptId: 'older', leaseMs: 0 });
    await records.beginAttempt({ ...begin, attemptId: 'newer', leaseMs });
    const commit = { uploadId: upload.id, part: newPart(1), fixesSize: false };
    expect(await records.commitPart({ ...commit, attemptId: 'older' })).toEqual({ kind: 'displaced' });
    expect(await records.commitPart({ ...commit, attemptId: 'newer' })).toMatchObject({ kind: 'committed' });
    expect(await records.commitPart({ ...commit, attemptId: 'newer' })).toEqual({ kind: 'displaced' });
  });

  it('fixes the size of an upload at the end of a short part', async () => {
    const upload = await openUpload(records);
    await storePart(records, upload, newPart(1));
    await storePart(records, upload, newPart(2, { sizeBytes: 3 }), { fixesSize: true });
    expect(await look(records, upload)).toMatchObject({ sizeBytes: 13, offset: 13 });
    expect(await storePart(records, upload, newPart(3))).toEqual({ kind: 'size_conflict' });
  });

  it('refuses a short part that later bytes follow', async () => {
    const upload = await openUpload(records);
    await storePart(records, upload, newPart(3));
    expect(await storePart(records, upload, newPart(2, { sizeBytes: 3 }), { fixesSize: true })).toEqual({
      kind: 'size_conflict',
    });
    expect(await look(records, upload)).toMatchObject({ sizeBytes: undefined, receivedBytes: 10 });
  });

  it('refuses a short part once another has fixed the size elsewhere', async () => {
    const upload = await openUpload(records);
    await storePart(records, upload, newPart(2, { sizeBytes: 3 }), { fixesSize: true });
    const short = await storePart(records, upload, newPart(1, { sizeBytes: 5 }), { fixesSize: true });
    expect(short).toEqual({ kind: 'size_conflict' });
    expect(await look(records, upload)).toMatchObject({ sizeBytes: 13, offset: 0, receivedBytes: 3 });
  });

  it('takes the same last part again', async () => {
    const upload = await openUpload(records);
    await storePart(records, upload, newPart(1, { sizeBytes: 3 }), { fixesSize: true });
    const again = await storePart(records, upload, newPart(1, { sizeBytes: 3 }), { fixesSize: true });
    expect(again).toEqual({ kind: 'committed', offset: 3 });
  });

  it('refuses parts of a free layout beyond the declared size, as a conflict and not as a fault', async () => {
    const upload = await openUpload(records, { layout: { kind: 'free' }, sizeBytes: 10 });
    const part = newPart(1, { offset: undefined, sizeBytes: 12 });
    expect(await storePart(records, upload, part)).toEqual({ kind: 'size_conflict' });
  });

  it('records nothing of an upload that is no longer open', async () => {
    const upload = await openUpload(records);
    await records.beginAttempt({ uploadId: upload.id, tenant: 'tenant', partNumber: 1, attemptId: 'a', leaseMs });
    await records.claimAbort({ id: upload.id, claimId: 'claim', leaseMs, reason: 'requested' });
    const commit = { uploadId: upload.id, attemptId: 'a', part: newPart(1), fixesSize: false };
    expect(await records.commitPart(commit)).toEqual({ kind: 'not_open' });
    expect(await records.commitPart({ ...commit, uploadId: 'nobody' })).toEqual({ kind: 'not_open' });
    expect(await allParts(upload)).toEqual([]);
  });
});

type Step =
  | { readonly kind: 'store'; readonly partNumber: number; readonly sizeBytes: number }
  | { readonly kind: 'forget' | 'adopt'; readonly partNumbers: readonly number[]; readonly sizeBytes: number };

const partNumber = fc.integer({ min: 1, max: 12 });
const partNumbers = fc.uniqueArray(partNumber, { maxLength: 3 });
/** Of parts in the free layout. */
const sizeBytes = fc.integer({ min: 1, max: 20 });
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('store' as const), partNumber, sizeBytes }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constantFrom('forget', 'adopt'), partNumbers, sizeBytes }) },
);

describe('the counters', () => {
  it('are what the parts say, after any steps in any order', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 30 }), fc.boolean(), async (steps, isFree) => {
        const upload = await openUpload(records, isFree ? { layout: { kind: 'free' } } : {});
        const model = new Map<number, Part>();
        for (const step of steps) {
          const fresh = (number: number) =>
            newPart(number, isFree ? { offset: undefined, sizeBytes: step.sizeBytes } : {});
          if (step.kind === 'store') {
            const part = fresh(step.partNumber);
            model.set(part.partNumber, part);
            const { offset } = countersOf(model.values());
            expect(await storePart(records, upload, part)).toEqual({ kind: 'committed', offset });
          } else if (step.kind === 'forget') {
            for (const number of step.partNumbers) model.delete(number);
            await opened.forget(upload.id, step.partNumbers);
          } else {
            const adopted = step.partNumbers.map(fresh);
            const parts = adopted.map((part) => replacing(model.get(part.partNumber), part));
            for (const part of adopted) model.set(part.partNumber, part);
            await records.adoptParts({ uploadId: upload.id, parts });
          }
          expect(await look(records, upload)).toMatchObject(countersOf(model.values()));
        }
        expect(await allParts(upload)).toEqual([...model.values()].sort((a, b) => a.partNumber - b.partNumber));
      }),
      { numRuns: 25 },
    );
  });

  it('are what the parts say, after any steps at the same time from four connections', async () => {
    const concurrentStep = step.filter(({ kind }) => kind !== 'adopt');
    await fc.assert(
      fc.asyncProperty(fc.array(concurrentStep, { minLength: 8, maxLength: 40 }), async (steps) => {
        const upload = await openUpload(records, { layout: { kind: 'free' } });
        await Promise.all(
          [0, 1, 2, 3].map(async (lane) => {
            for (const step of steps.filter((_, index) => index % 4 === lane)) {
              if (step.kind !== 'store') await opened.forget(upload.id, step.partNumbers);
              else await storeIfVacant(upload, newPart(step.partNumber, { sizeBytes: step.sizeBytes }));
            }
          }),
        );
        expect(await look(records, upload)).toMatchObject(countersOf(await allParts(upload)));
      }),
      { numRuns: 15 },
    );
  });

  it('never fall back while parts arrive in any order', async () => {
    const upload = await openUpload(records);
    const numbers = fc.sample(
      fc.shuffledSubarray(
        [...Array(40).keys()].map((n) => n + 1),
        { minLength: 40 },
      ),
      1,
    )[0]!;
    let done = false;
    const watching = (async () => {
      let last = 0;
      while (!done) {
        const { offset } = await look(records, upload);
        expect(offset).toBeGreaterThanOrEqual(last);
        last = offset;
      }
    })();
    const half = Math.ceil(numbers.length / 2);
    await Promise.all(
      [numbers.slice(0, half), numbers.slice(half)].map(async (lane) => {
        for (const number of lane) await storePart(records, upload, newPart(number));
      }),
    );
    done = true;
    await watching;
    expect(await look(records, upload)).toMatchObject({ offset: 400, contiguousParts: 40, receivedBytes: 400 });
  });
});

function replacing(earlier: Part | undefined, part: Part): AdoptedPart {
  return { ...part, replacesEtag: earlier?.etag };
}

describe('adoptParts', () => {
  it('leaves a part that was stored anew since the store was asked, and what is known of one that is on record', async () => {
    const upload = await openUpload(records);
    const asked = newPart(1);
    const anew = newPart(1);
    const known = newPart(2, { digests: { crc32: 'AAAAAA==' } });
    for (const part of [asked, anew, known]) await storePart(records, upload, part);
    const seen = [replacing(asked, newPart(1)), replacing(known, { ...known, digests: {} })];
    expect(await records.adoptParts({ uploadId: upload.id, parts: seen })).toMatchObject({ kind: 'adopted' });
    expect(await allParts(upload)).toEqual([anew, known]);
  });

  it('leaves a slot where an attempt is under way', async () => {
    const upload = await openUpload(records);
    await records.beginAttempt({ uploadId: upload.id, tenant: 'tenant', partNumber: 1, attemptId: 'a', leaseMs });
    await records.adoptParts({ uploadId: upload.id, parts: [replacing(undefined, newPart(1))] });
    expect(await allParts(upload)).toEqual([]);
  });

  it('does not fix another size than the one that is fixed already', async () => {
    const upload = await openUpload(records);
    await storePart(records, upload, newPart(3, { sizeBytes: 5 }), { fixesSize: true });
    const short = replacing(undefined, newPart(2, { sizeBytes: 4 }));
    const adopted = await records.adoptParts({ uploadId: upload.id, parts: [short], fixesSizeBytes: 14 });
    expect(adopted).toEqual({ kind: 'size_conflict' });
  });

  it('records what the store shows, over what was there, and fixes an unknown size', async () => {
    const upload = await openUpload(records);
    const first = newPart(1);
    await storePart(records, upload, first);
    const seen = [newPart(1), newPart(2, { sizeBytes: 4 })];
    const parts = [replacing(first, seen[0]!), replacing(undefined, seen[1]!)];
    const adopted = await records.adoptParts({ uploadId: upload.id, parts, fixesSizeBytes: 14 });
    expect(adopted).toMatchObject({
      kind: 'adopted',
      upload: { sizeBytes: 14, offset: 14, contiguousParts: 2, receivedBytes: 14 },
    });
    expect(await allParts(upload)).toEqual(seen);
  });

  it('does not fix the size before parts that are on record', async () => {
    const upload = await openUpload(records);
    const whole = [1, 2, 3].map((number) => newPart(number));
    for (const part of whole) await storePart(records, upload, part);
    const short = replacing(whole[1], newPart(2, { sizeBytes: 4 }));
    const adopted = await records.adoptParts({ uploadId: upload.id, parts: [short], fixesSizeBytes: 14 });
    expect(adopted).toEqual({ kind: 'size_conflict' });
    expect(await look(records, upload)).toMatchObject({ sizeBytes: undefined, receivedBytes: 30 });
  });

  it('records nothing of an upload that is no longer open', async () => {
    const upload = await openUpload(records);
    await records.claimAbort({ id: upload.id, claimId: 'claim', leaseMs, reason: 'requested' });
    expect(await records.adoptParts({ uploadId: upload.id, parts: [replacing(undefined, newPart(1))] })).toEqual({
      kind: 'not_open',
    });
    expect(await allParts(upload)).toEqual([]);
  });

  it('does not deadlock with attempts that begin at the same parts', async () => {
    for (let round = 0; round < 40; round++) {
      const upload = await openUpload(records);
      const numbers = [...Array(8).keys()].map((n) => n + 1);
      const begins = numbers.map((number) =>
        records.beginAttempt({
          uploadId: upload.id,
          tenant: 'tenant',
          partNumber: number,
          attemptId: newName(),
          leaseMs,
        }),
      );
      const adoption = records.adoptParts({
        uploadId: upload.id,
        parts: numbers.map((n) => replacing(undefined, newPart(n))),
      });
      const outcomes = await Promise.allSettled([adoption, ...begins]);
      expect(outcomes.filter(({ status }) => status === 'rejected')).toEqual([]);
    }
  });
});

describe('forgetParts', () => {
  it('takes parts out and moves the counters back', async () => {
    const upload = await openUpload(records, { sizeBytes: 30 });
    for (const number of [1, 2, 3]) await storePart(records, upload, newPart(number));
    await opened.forget(upload.id, [2]);
    expect(await look(records, upload)).toMatchObject({ offset: 10, contiguousParts: 1, receivedBytes: 20 });
    expect(await findPart(records, upload, 2)).toBeUndefined();
    await storePart(records, upload, newPart(2));
    expect(await look(records, upload)).toMatchObject({ offset: 30, contiguousParts: 3, receivedBytes: 30 });
  });
});

describe('listParts', () => {
  it('pages through the durable parts, in order', async () => {
    const upload = await openUpload(records);
    for (const number of [5, 1, 3]) await storePart(records, upload, newPart(number));
    await records.beginAttempt({ uploadId: upload.id, tenant: 'tenant', partNumber: 2, attemptId: 'a', leaseMs });
    const numbers = async (after: number, limit: number) =>
      (await records.listParts(upload.id, { after, limit })).map(({ partNumber }) => partNumber);
    expect(await numbers(0, 2)).toEqual([1, 3]);
    expect(await numbers(3, 2)).toEqual([5]);
    expect(await numbers(5, 2)).toEqual([]);
  });
});

describe('markSigned', () => {
  it('marks an open upload alone', async () => {
    const upload = await openUpload(records);
    expect(await records.markSigned(upload.id)).toBe(true);
    expect((await look(records, upload)).signed).toBe(true);
    await records.claimAbort({ id: upload.id, claimId: 'claim', leaseMs, reason: 'requested' });
    expect(await records.markSigned(upload.id)).toBe(false);
  });
});
