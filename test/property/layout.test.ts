import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { UploadError } from '../../src/core/errors.ts';
import { type PlannedLayout, partCountOf, planLayout, rangeOf, reachOf, slotOf } from '../../src/core/layout.ts';
import type { StoreLimits } from '../../src/core/object-store.ts';

const MiB = 1024 ** 2;
const GiB = 1024 ** 3;
const TiB = 1024 ** 4;

const s3: StoreLimits = {
  minPartSizeBytes: 5 * MiB,
  maxPartSizeBytes: 5 * GiB,
  maxParts: 10_000,
  maxObjectSizeBytes: 50_000 * GiB,
  equalParts: false,
};
const stores: readonly StoreLimits[] = [
  s3,
  { ...s3, maxObjectSizeBytes: 5 * TiB },
  { ...s3, maxObjectSizeBytes: 5 * TiB, equalParts: true },
];

/** From the first byte to the last, with the neighbourhood of every power of two and of each limit. */
const anySize = (max: number) =>
  fc.oneof(
    fc.integer({ min: 0, max }),
    fc
      .tuple(fc.integer({ min: 0, max: Math.floor(Math.log2(max)) }), fc.integer({ min: -2, max: 2 }))
      .map(([power, delta]) => Math.min(max, Math.max(0, 2 ** power + delta))),
    fc.constantFrom(0, 1, 5 * MiB, 10_000 * 5 * MiB, 10_000 * 8 * MiB, max, max - 1),
  );

const limits = fc.constantFrom(...stores);
const chunk = fc.option(fc.oneof(fc.integer({ min: 0, max: 100 * MiB }), anySize(10 * GiB)), { nil: undefined });

const planned = limits.chain((store) =>
  fc
    .record({ sizeBytes: fc.option(anySize(store.maxObjectSizeBytes), { nil: undefined }), chunkSizeBytes: chunk })
    .map((input) => ({ store, ...input, layout: planLayout(input, store) })),
);

function sizeOf(slot: ReturnType<typeof rangeOf>): number {
  if (slot === undefined) throw new Error('no such slot');
  return slot.sizeBytes;
}

describe('a planned layout', () => {
  it('has slots that adjoin, from the first byte to the last', () => {
    fc.assert(
      fc.property(planned, fc.integer({ min: 1, max: 9_999 }), ({ store, layout, sizeBytes }, anyPart) => {
        const count = sizeBytes === undefined ? store.maxParts : partCountOf(layout, sizeBytes);
        const partNumber = Math.min(anyPart, Math.max(1, count - 1));
        expect(rangeOf(layout, 1, sizeBytes)?.offset).toBe(0);
        const slot = rangeOf(layout, partNumber, sizeBytes);
        if (count > 1) {
          expect(rangeOf(layout, partNumber + 1, sizeBytes)?.offset).toBe(slot!.offset + slot!.sizeBytes);
        }
        if (sizeBytes === undefined) return;
        const last = rangeOf(layout, count, sizeBytes)!;
        expect(last.offset + last.sizeBytes).toBe(sizeBytes);
        expect(rangeOf(layout, count + 1, sizeBytes)).toBeUndefined();
      }),
    );
  });

  it('has one slot for every byte: slotOf and rangeOf are inverse', () => {
    fc.assert(
      fc.property(planned, fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), (plan, position) => {
        const { store, layout, sizeBytes } = plan;
        const end = sizeBytes ?? reachOf(layout, store.maxParts);
        fc.pre(end > 0);
        const offset = Math.floor(position * end);
        const slot = rangeOf(layout, slotOf(layout, offset), sizeBytes)!;
        expect(slot.offset).toBeLessThanOrEqual(offset);
        expect(offset).toBeLessThan(slot.offset + slot.sizeBytes);
        expect(slotOf(layout, slot.offset)).toBe(slot.partNumber);
        expect(slotOf(layout, slot.offset + slot.sizeBytes - 1)).toBe(slot.partNumber);
      }),
    );
  });

  it('needs no more parts than the store allows, each within its sizes', () => {
    fc.assert(
      fc.property(planned, ({ store, layout, sizeBytes }) => {
        const count = sizeBytes === undefined ? store.maxParts : partCountOf(layout, sizeBytes);
        expect(count).toBeLessThanOrEqual(store.maxParts);
        expect(layout.partSizeBytes).toBeGreaterThanOrEqual(store.minPartSizeBytes);
        for (const partNumber of [1, 2, 999, 1000, 1001, 5000, 9999, 10_000].filter((n) => n <= count)) {
          const size = sizeOf(rangeOf(layout, partNumber, sizeBytes));
          expect(size).toBeLessThanOrEqual(store.maxPartSizeBytes);
          if (partNumber < count) expect(size).toBeGreaterThanOrEqual(store.minPartSizeBytes);
        }
      }),
    );
  });

  it('reaches 5 TiB where the size is unknown, whatever the chunk', () => {
    fc.assert(
      fc.property(limits, chunk, (store, chunkSizeBytes) => {
        const layout = planLayout({ chunkSizeBytes }, store);
        expect(reachOf(layout, store.maxParts)).toBeGreaterThanOrEqual(5 * TiB);
      }),
      { examples: [[s3, s3.minPartSizeBytes]] },
    );
  });

  it('has parts of one size where the store wants that', () => {
    const store = stores[2]!;
    fc.assert(
      fc.property(fc.option(anySize(5 * TiB), { nil: undefined }), chunk, (sizeBytes, chunkSizeBytes) => {
        const layout = planLayout({ sizeBytes, chunkSizeBytes }, store);
        const count = sizeBytes === undefined ? store.maxParts : partCountOf(layout, sizeBytes);
        if (count > 1) expect(sizeOf(rangeOf(layout, count - 1, sizeBytes))).toBe(layout.partSizeBytes);
        if (sizeBytes === undefined) expect(sizeOf(rangeOf(layout, count))).toBe(layout.partSizeBytes);
      }),
    );
  });

  it("makes a client's chunk a part, or a whole number of chunks one", () => {
    fc.assert(
      fc.property(limits, fc.integer({ min: 1, max: 64 * MiB }), anySize(40 * GiB), (store, chunkSizeBytes, size) => {
        const { partSizeBytes } = planLayout({ sizeBytes: size, chunkSizeBytes }, store);
        expect(partSizeBytes % chunkSizeBytes).toBe(0);
        if (chunkSizeBytes >= 5 * MiB && size <= 10_000 * chunkSizeBytes) expect(partSizeBytes).toBe(chunkSizeBytes);
      }),
    );
  });

  it('is 8 MiB for a file in one request', () => {
    for (const chunkSizeBytes of [undefined, 0, 64 * MiB + 1, 3 * GiB]) {
      expect(planLayout({ sizeBytes: 3 * GiB, chunkSizeBytes }, s3).partSizeBytes).toBe(8 * MiB);
    }
    expect(planLayout({ sizeBytes: 3 * GiB, chunkSizeBytes: MiB }, s3).partSizeBytes).toBe(8 * MiB);
  });
});

describe('a part size that the client asks for', () => {
  it('is kept, or refused with numbers that work', () => {
    fc.assert(
      fc.property(
        limits,
        fc.option(anySize(50_000 * GiB), { nil: undefined }),
        fc.oneof(fc.integer({ min: 0, max: 6 * GiB }), anySize(6 * GiB)),
        (store, sizeBytes, partSizeBytes) => {
          const outcome = plan({ sizeBytes, partSizeBytes }, store);
          if (!(outcome instanceof UploadError)) {
            expect(outcome.partSizeBytes).toBe(partSizeBytes);
            if (sizeBytes !== undefined) expect(partCountOf(outcome, sizeBytes)).toBeLessThanOrEqual(store.maxParts);
            return;
          }
          const { minPartSize, maxPartSize, limit } = outcome.details as Record<string, number>;
          if (outcome.code === 'limit_exceeded') {
            expect(sizeBytes).toBeGreaterThan(store.maxObjectSizeBytes);
            expect(plan({ sizeBytes: limit }, store)).not.toBeInstanceOf(UploadError);
            return;
          }
          expect(outcome.code).toBe('invalid_request');
          for (const size of [minPartSize!, maxPartSize!]) {
            expect(plan({ sizeBytes, partSizeBytes: size }, store)).toMatchObject({ partSizeBytes: size });
          }
        },
      ),
    );
  });

  it('may be below the minimum for an upload of one part', () => {
    expect(planLayout({ sizeBytes: 100, partSizeBytes: 100 }, s3).partSizeBytes).toBe(100);
    expect(plan({ sizeBytes: 101, partSizeBytes: 100 }, s3)).toBeInstanceOf(UploadError);
  });
});

function plan(input: Parameters<typeof planLayout>[0], store: StoreLimits): PlannedLayout | UploadError {
  try {
    return planLayout(input, store);
  } catch (error) {
    if (error instanceof UploadError) return error;
    throw error;
  }
}

describe('the bounds', () => {
  it('takes an upload of exactly 10,000 parts, and puts one byte more into larger parts', () => {
    const exact = 10_000 * 8 * MiB;
    expect(planLayout({ sizeBytes: exact }, s3).partSizeBytes).toBe(8 * MiB);
    expect(partCountOf(planLayout({ sizeBytes: exact }, s3), exact)).toBe(10_000);
    expect(planLayout({ sizeBytes: exact + 1 }, s3).partSizeBytes).toBe(16 * MiB);
  });

  it('takes the largest object of S3 in 10,000 parts of 5 GiB', () => {
    const layout = planLayout({ sizeBytes: 50_000 * GiB }, s3);
    expect(layout.partSizeBytes).toBe(5 * GiB);
    expect(partCountOf(layout, 50_000 * GiB)).toBe(10_000);
  });

  it('gives up whole chunks where their multiple is more than a part may have', () => {
    const chunkSizeBytes = 3_000_001;
    expect(planLayout({ sizeBytes: 50_000 * GiB, chunkSizeBytes }, s3).partSizeBytes).toBe(5 * GiB);
  });

  it('has one slot of 0 bytes for an upload of 0 bytes', () => {
    const layout = planLayout({ sizeBytes: 0 }, s3);
    expect(partCountOf(layout, 0)).toBe(1);
    expect(rangeOf(layout, 1, 0)).toEqual({ partNumber: 1, offset: 0, sizeBytes: 0 });
    expect(rangeOf(layout, 2, 0)).toBeUndefined();
  });
});
