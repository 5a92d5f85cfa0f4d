import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { copiedSegment, planConcatenation } from '../../src/core/concatenation-plan.ts';
import type { StoreLimits } from '../../src/core/object-store.ts';

interface Range {
  readonly source: number;
  readonly first: number;
  readonly sizeBytes: number;
}

/** Neighbouring ranges of one source as one. */
function joined(ranges: readonly Range[]): readonly Range[] {
  const whole: Range[] = [];
  for (const { source, first, sizeBytes } of ranges) {
    const last = whole.at(-1);
    const goesOn = last !== undefined && last.source === source && last.first + last.sizeBytes === first;
    if (goesOn) whole[whole.length - 1] = { ...last, sizeBytes: last.sizeBytes + sizeBytes };
    else whole.push({ source, first, sizeBytes });
  }
  return whole;
}

const limits: StoreLimits = {
  minPartSizeBytes: 5,
  maxPartSizeBytes: 5000,
  maxParts: 10_000,
  maxObjectSizeBytes: 50_000_000,
  equalParts: false,
};

describe('a plan to put uploads together', () => {
  const sizes = fc.array(fc.oneof(fc.nat(12), fc.nat(6000), fc.nat(30_000)), { minLength: 1, maxLength: 40 });

  test('covers all bytes once, in their order, in parts that the store takes', () => {
    fc.assert(
      fc.property(sizes, (given) => {
        const parts = planConcatenation(given, limits);
        let end = 0;
        parts.forEach((part, index) => {
          expect(part).toMatchObject({ partNumber: index + 1, offset: end });
          expect(part.segments.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)).toBe(part.sizeBytes);
          expect(part.sizeBytes).toBeLessThanOrEqual(limits.maxPartSizeBytes);
          if (index < parts.length - 1) expect(part.sizeBytes).toBeGreaterThanOrEqual(limits.minPartSizeBytes);
          end += part.sizeBytes;
        });
        expect(end).toBe(given.reduce((sum, size) => sum + size, 0));
        const whole = given.flatMap((sizeBytes, source) => (sizeBytes === 0 ? [] : [{ source, first: 0, sizeBytes }]));
        expect(joined(parts.flatMap(({ segments }) => segments))).toEqual(whole);
      }),
      { numRuns: 500 },
    );
  });

  test('joins no more than what is too small to be a part', () => {
    fc.assert(
      fc.property(sizes, (given) => {
        const parts = planConcatenation(given, limits).filter(({ segments }) => segments.length > 1);
        for (const { sizeBytes } of parts) expect(sizeBytes).toBeLessThan(2 * limits.minPartSizeBytes);
      }),
    );
  });

  test('has the store copy a part only of one source, and a range only of one above 5 MiB', () => {
    const MiB = 1024 ** 2;
    const ofS3 = { ...limits, minPartSizeBytes: 5 * MiB, maxPartSizeBytes: 5 * 1024 * MiB };
    const copied = (sizes: readonly number[]) =>
      planConcatenation(sizes, ofS3).map((part) => copiedSegment(part, sizes) !== undefined);
    expect(copied([6 * MiB, 3])).toEqual([true, true]);
    expect(copied([5 * MiB + 1, 4 * MiB, 4 * MiB])).toEqual([true, false, false]);
    expect(copied([MiB, 9 * MiB + 1])).toEqual([false, true]);
  });

  test('copies no more at a time than can be made again, but never more parts than there may be', () => {
    const TiB = 1024 ** 4;
    const ofS3 = { ...limits, minPartSizeBytes: 5 * 1024 ** 2, maxPartSizeBytes: 5 * 1024 ** 3 };
    expect(planConcatenation([1024 ** 3 + 1], ofS3)).toHaveLength(3);
    expect(planConcatenation(Array(300).fill(TiB / 60 + 1), ofS3).length).toBeLessThanOrEqual(10_000);
  });

  test('has parts of one size where the store wants that', () => {
    fc.assert(
      fc.property(sizes, (given) => {
        const parts = planConcatenation(given, { ...limits, equalParts: true });
        const all = new Set(parts.slice(0, -1).map(({ sizeBytes }) => sizeBytes));
        expect(all.size).toBeLessThanOrEqual(1);
        expect(parts.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)).toBe(
          given.reduce((sum, size) => sum + size, 0),
        );
      }),
      { numRuns: 50 },
    );
  });
});
