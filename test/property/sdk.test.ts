import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatCrc32, joinCrc32s, parseCrc32 } from '../../src/sdk/hashes.ts';
import { preferredPartSize } from '../../src/sdk/open-upload.ts';
import { ChunkSize, Parallelism, Throttle } from '../../src/sdk/pace.ts';
import { Rate } from '../../src/sdk/rate.ts';
import { Slot } from '../../src/sdk/slot.ts';
import { planWindow } from '../../src/sdk/stream-slots.ts';

const KiB = 1024;
const MiB = 1024 * KiB;
const noBytes = () => ({ sizeBytes: 0, async *pieces() {} });

describe('a slot', () => {
  const gaps = fc.array(fc.record({ offset: fc.nat(300), sizeBytes: fc.nat(60) }));

  test('keeps exactly the bytes that are missing, whatever is sent in between', () => {
    fc.assert(
      fc.property(gaps, fc.array(fc.integer({ min: 1, max: 80 })), (missing, chunks) => {
        const slot = new Slot({ partNumber: 2, offset: 100, sizeBytes: 100 }, noBytes);
        // Ranges that a gateway tells do not overlap.
        const apart = missing.toSorted((a, b) => a.offset - b.offset);
        const clean = apart.flatMap((gap, index) => {
          const end = Math.min(gap.offset + gap.sizeBytes, apart[index + 1]?.offset ?? Number.POSITIVE_INFINITY);
          return end > gap.offset ? [{ offset: gap.offset, sizeBytes: end - gap.offset }] : [];
        });
        const model = new Set<number>();
        for (const { offset, sizeBytes } of clean) {
          for (let at = offset; at < offset + sizeBytes; at++) if (at >= 100 && at < 200) model.add(at);
        }
        expect(slot.cutTo(clean)).toBe(100 - model.size);
        for (const chunkBytes of chunks) {
          const { offset, sizeBytes } = slot.next(chunkBytes);
          for (let at = offset; at < offset + sizeBytes; at++) expect(model.delete(at)).toBe(true);
          slot.stored(sizeBytes);
          expect(slot.missingBytes).toBe(model.size);
        }
        expect(slot.isDone).toBe(model.size === 0);
      }),
    );
  });
});

test("the whole's CRC-32 is joined from its parts'", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 40 })), (parts) => {
      const values = parts.map((part) => ({ value: crc32(part), sizeBytes: part.length }));
      expect(joinCrc32s(values)).toBe(crc32(Buffer.concat(parts)));
    }),
  );
});

test('a CRC-32 is read as it was written, among others', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 2 ** 32 - 1 }), (crc) => {
      expect(parseCrc32(formatCrc32(crc))).toBe(crc);
      expect(parseCrc32(`md5=:AAAA:, ${formatCrc32(crc)}`)).toBe(crc);
    }),
  );
  expect(parseCrc32('xcrc32=:AAAAAA==:')).toBeUndefined();
  expect(parseCrc32(undefined)).toBeUndefined();
});

describe('a window', () => {
  test('is never exceeded by what is on its way and what is collected', () => {
    const megabytes = fc.integer({ min: 5, max: 512 });
    fc.assert(
      fc.property(megabytes, megabytes, fc.integer({ min: 1, max: 64 }), (window, part, most) => {
        const { parallel, pieceBytes } = planWindow(window * MiB, part * MiB, most);
        expect(parallel).toBeGreaterThanOrEqual(1);
        expect(parallel).toBeLessThanOrEqual(most);
        expect(pieceBytes).toBeLessThanOrEqual(part * MiB);
        if (pieceBytes > MiB) expect((parallel + 1) * pieceBytes).toBeLessThanOrEqual(window * MiB);
      }),
    );
  });
});

test('large files are cut into larger parts, as far as parts go', () => {
  const GiB = 1024 * MiB;
  const preferred = (sizeBytes: number) => preferredPartSize({ kind: 'seekable', sizeBytes });
  expect([GiB / 2 - 1, GiB / 2, 160_000 * MiB, 160_000 * MiB + 1].map(preferred)).toEqual([
    undefined,
    16 * MiB,
    16 * MiB,
    undefined,
  ]);
  expect(preferredPartSize({ kind: 'stream', sizeBytes: GiB })).toBeUndefined();
});

describe('the size of chunks', () => {
  test('falls to what got through, once for breaks at the same time, and grows again', () => {
    const chunk = new ChunkSize(8 * MiB);
    const { epoch } = chunk;
    chunk.broke(epoch, 300 * KiB);
    chunk.broke(epoch, 100 * KiB);
    expect(chunk.bytes).toBe(300 * KiB);
    for (let i = 0; i < 4; i++) chunk.held();
    expect(chunk.bytes).toBe(600 * KiB);
    for (let i = 0; i < 40; i++) chunk.held();
    expect(chunk.bytes).toBe(8 * MiB);
  });

  test('is never less than 64 KiB', () => {
    const chunk = new ChunkSize(8 * MiB);
    chunk.broke(chunk.epoch, 0);
    expect(chunk.bytes).toBe(64 * KiB);
  });
});

test('how many requests there are falls by half and grows by one', () => {
  const parallelism = new Parallelism(8);
  parallelism.trouble();
  expect(parallelism.now).toBe(4);
  for (let i = 0; i < 4; i++) parallelism.held();
  expect(parallelism.now).toBe(5);
  for (let i = 0; i < 20; i++) parallelism.trouble();
  expect(parallelism.now).toBe(1);
  for (let i = 0; i < 200; i++) parallelism.held();
  expect(parallelism.now).toBe(8);
});

test('a limited line is cut into pieces that keep it alive', () => {
  expect(new Throttle(10 * MiB).pieceBytes).toBe(256 * KiB);
  expect(new Throttle(40 * KiB).pieceBytes).toBe(10 * KiB);
  expect(new Throttle(1).pieceBytes).toBe(4 * KiB);
  expect(new Throttle(undefined).isLimiting).toBe(false);
});

test('the rate is that of the last ten seconds', () => {
  const rate = new Rate();
  rate.note(0, 0);
  expect(rate.perSecond(0, 100)).toBeUndefined();
  for (let second = 1; second <= 20; second++) rate.note(second * 1000, second * 1000);
  expect(rate.perSecond(20_000, 20_000)).toBe(1000);
  for (let second = 21; second <= 40; second++) rate.note(20_000, second * 1000);
  expect(rate.perSecond(20_000, 40_000)).toBe(0);
});
