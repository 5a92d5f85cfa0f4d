import { Readable } from 'node:stream';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { CreateInput } from '../../src/core/create.ts';
import { listParts, type MissingPart, missingParts } from '../../src/core/list-parts.ts';
import type { Upload } from '../../src/core/upload.ts';
import { writeRange } from '../../src/core/write-range.ts';
import { CoreUnderTest, codeOf, failureOf, principal } from './core-under-test.ts';

let core: CoreUnderTest;
beforeAll(async () => {
  core = await CoreUnderTest.open();
});
afterAll(() => core[Symbol.asyncDispose]());
afterEach(() => core.reset());

const partBytes = 1024;

/** An upload with these parts on record, as if they had been stored. */
async function uploadWith(partNumbers: readonly number[], input: Partial<CreateInput>): Promise<Upload> {
  const upload = await core.create({ layout: 'planned', ...input });
  await core.db.query(
    `insert into parts (upload_id, part_number, "offset", size, etag, stored_at)
     select $1, n, (n - 1) * $3::bigint, $3, '"e"', now() from unnest($2::integer[]) n`,
    [upload.id, partNumbers, partBytes],
  );
  const stored = new Set(partNumbers);
  let contiguous = 0;
  while (stored.has(contiguous + 1)) contiguous++;
  await core.db.query('update uploads set contiguous_parts = $2, "offset" = $3, received_bytes = $4 where id = $1', [
    upload.id,
    contiguous,
    contiguous * partBytes,
    partNumbers.length * partBytes,
  ]);
  return core.find(upload);
}

function planned(count: number): Partial<CreateInput> {
  return { sizeBytes: count * partBytes, partSizeBytes: partBytes };
}

function range(first: number, last: number): number[] {
  return Array.from({ length: last - first + 1 }, (_, index) => first + index);
}

function numbersOf(parts: readonly MissingPart[]): number[] {
  return parts.map(({ partNumber }) => partNumber);
}

function except(count: number, stored: readonly number[]): number[] {
  const known = new Set(stored);
  return range(1, count).filter((number) => !known.has(number));
}

describe('the missing parts', () => {
  it.each<[string, number, number[]]>([
    ['nothing stored', 2500, []],
    ['all stored', 1500, range(1, 1500)],
    ['the first missing, 2 to 1000 stored, the rest missing', 2500, range(2, 1000)],
    ['the first missing, 2 to 1001 stored: a page that is just full', 2500, range(2, 1001)],
    ['the first missing, 2 to 1001 stored, and no more to come', 1001, range(2, 1001)],
    ['the first missing, two whole pages stored, the rest missing', 3000, range(2, 2500)],
    ['the last alone stored', 2500, [2500]],
    ['every second stored, over several pages', 5000, range(1, 2500).map((n) => 2 * n)],
    ['every fourth stored, to the end', 8000, range(1, 2000).map((n) => 4 * n)],
    ['a gap of a thousand in the middle', 4000, [...range(1, 1500), ...range(2501, 4000)]],
    ['the last missing', 3000, range(1, 2999)],
  ])('%s', async (_, count, stored) => {
    const upload = await uploadWith(stored, planned(count));
    expect(numbersOf(await missingParts(core.deps, upload, 10_000))).toEqual(except(count, stored));
    expect(numbersOf(await missingParts(core.deps, upload, 7))).toEqual(except(count, stored).slice(0, 7));
  });

  it('come with their place, the last as long as what is left', async () => {
    const upload = await uploadWith([1], { sizeBytes: 2 * partBytes + 9, partSizeBytes: partBytes });
    expect(await missingParts(core.deps, upload, 10)).toEqual([
      { partNumber: 2, offset: partBytes, sizeBytes: partBytes },
      { partNumber: 3, offset: 2 * partBytes, sizeBytes: 9 },
    ]);
  });

  it('are the gaps before the last one stored, where the size is unknown', async () => {
    const unknown = { partSizeBytes: partBytes };
    expect(numbersOf(await missingParts(core.deps, await uploadWith([2, 5], unknown), 10))).toEqual([1, 3, 4]);
    expect(await missingParts(core.deps, await uploadWith([1, 2], unknown), 10)).toEqual([]);
    expect(await missingParts(core.deps, await uploadWith([], unknown), 10)).toEqual([]);
    const far = await uploadWith([3001], unknown);
    expect(numbersOf(await missingParts(core.deps, far, 10_000))).toEqual(range(1, 3000));
  });

  it('of the free layout are numbers alone', async () => {
    const upload = await uploadWith([2, 4], { layout: 'free', sizeBytes: 100_000, partSizeBytes: undefined });
    expect(await missingParts(core.deps, upload, 10)).toEqual([{ partNumber: 1 }, { partNumber: 3 }]);
  });

  it('of an upload of 0 bytes are none', async () => {
    expect(await missingParts(core.deps, await uploadWith([], { sizeBytes: 0 }), 10)).toEqual([]);
  });

  it('are what a complete that comes too early is told', async () => {
    const upload = await uploadWith(range(2, 1000), planned(1500));
    const failure = await failureOf(core.complete(upload));
    expect(failure).toMatchObject({
      code: 'incomplete',
      details: { receivedBytes: 999 * partBytes, expectedSize: 1500 * partBytes },
    });
    const missing = failure.details.missing as readonly { partNumber: number }[];
    expect(missing.map(({ partNumber }) => partNumber)).toEqual([1, ...range(1001, 1500)]);
    expect(missing[1]).toEqual({ partNumber: 1001, offset: 1000 * partBytes, size: partBytes });
  });
});

describe('listing parts', () => {
  it('shows every slot once, stored or missing, page by page', async () => {
    const stored = [2, 3, 6, 7, 11];
    const upload = await uploadWith(stored, planned(12));
    const seen: number[] = [];
    let after: number | undefined = 0;
    let pages = 0;
    while (after !== undefined) {
      const page = await listParts(core.deps, { principal, uploadId: upload.id }, { after, limit: 5 });
      expect(page.parts.length + page.missing.length).toBeLessThanOrEqual(5);
      expect(page.parts.every(({ partNumber }) => stored.includes(partNumber))).toBe(true);
      seen.push(...[...page.parts, ...page.missing].map(({ partNumber }) => partNumber).sort((a, b) => a - b));
      after = page.nextAfter;
      pages++;
    }
    expect(seen).toEqual(range(1, 12));
    expect(pages).toBe(3);
    expect(core.store.calls).not.toContain('listParts');
  });

  it('ends with the last part stored where the size is unknown', async () => {
    const upload = await uploadWith([2, 5], { partSizeBytes: partBytes });
    const input = { principal, uploadId: upload.id };
    const all = await listParts(core.deps, input, { after: 0, limit: 100 });
    expect([numbersOf(all.parts), numbersOf(all.missing), all.nextAfter]).toEqual([[2, 5], [1, 3, 4], undefined]);
    const first = await listParts(core.deps, input, { after: 0, limit: 3 });
    expect([numbersOf(first.parts), numbersOf(first.missing), first.nextAfter]).toEqual([[2], [1, 3], 3]);
    const rest = await listParts(core.deps, input, { after: 3, limit: 3 });
    expect([numbersOf(rest.parts), numbersOf(rest.missing), rest.nextAfter]).toEqual([[5], [4], undefined]);
  });

  it('shows nothing beyond the end', async () => {
    const upload = await uploadWith([1], planned(2));
    const page = await listParts(core.deps, { principal, uploadId: upload.id }, { after: 2, limit: 5 });
    expect(page).toMatchObject({ parts: [], missing: [], nextAfter: undefined });
  });

  it("is not another tenant's to do", async () => {
    const upload = await uploadWith([1], planned(2));
    const input = { principal: { ...principal, tenant: 'another' }, uploadId: upload.id };
    expect(await codeOf(listParts(core.deps, input, { after: 0, limit: 5 }))).toBe('upload_not_found');
  });
});

it('are those with a hole before the last byte, also while the size is unknown', async () => {
  const upload = await core.create({ protocol: 'content-range', sizeBytes: undefined, partSizeBytes: partBytes });
  const write = (offset: number, sizeBytes: number) =>
    writeRange(core.deps, {
      ...{ principal, upload, offset, sizeBytes, mode: 'anywhere', completes: true },
      body: () => Readable.from([Buffer.alloc(sizeBytes)], { objectMode: false }),
    });
  const listed = async () => {
    const page = await listParts(core.deps, { principal, uploadId: upload.id }, { after: 0, limit: 1000 });
    return numbersOf(page.missing);
  };
  await write(0, partBytes + 10);
  expect(await listed()).toEqual([]);
  await write(2 * partBytes + 10, 10);
  expect(await listed()).toEqual([2, 3]);
  expect(numbersOf(await missingParts(core.deps, await core.find(upload), 10))).toEqual([2, 3]);
  await write(partBytes + 10, partBytes);
  expect(await listed()).toEqual([]);
});
