import type { ExpectedPlace } from './expected-places.ts';
import { largestFragmentBytes } from './fragment-sizes.ts';
import type { NextFragment } from './range-records.ts';
import type { RangeWrite } from './range-write.ts';
import { nameFragment } from './read-fragment.ts';

/**
 * The place of the chunk that is expected behind the last one of this request, to go on record with that one's commit.
 * @param end of what is committed
 */
export function expectedNext(write: RangeWrite, end: number): NextFragment | undefined {
  const { deps, upload, bodyStart, bodyEnd } = write;
  const size = upload.sizeBytes;
  if (!mayBeExpected(write) || end !== bodyEnd || upload.carefulFragmentBytes !== undefined) return undefined;
  if (size === undefined || end >= size) return undefined;
  if (!deps.expectedPlaces.isExpectedAfter(upload.id, { from: bodyStart, to: end })) return undefined;
  const slot = write.slotAt(end);
  const sizeBytes = Math.min(end - bodyStart, slot.offset + slot.sizeBytes - end, largestFragmentBytes);
  // A chunk that fills its slot is no fragment.
  if (sizeBytes === slot.sizeBytes) return undefined;
  return {
    partNumber: slot.partNumber,
    from: end,
    to: end + sizeBytes,
    ...nameFragment(deps, upload.id),
    attemptId: deps.newLeaseId(),
  };
}

/** What is durable now ends this request's chunk, if it ends there. @param next the place behind it, where it is on record */
export function followChunk(write: RangeWrite, end: number, next: ExpectedPlace | undefined): void {
  const { deps, upload, bodyStart, bodyEnd } = write;
  if (!mayBeExpected(write) || end !== bodyEnd) return;
  deps.expectedPlaces.follow(upload.id, { from: bodyStart, to: end }, next);
}

/** Whoever is too late at an expected place stores its bytes again: what has to wait for the digests of its body can't. */
export function mayBeExpected({ isAppend, stated }: RangeWrite): boolean {
  return !isAppend && stated === undefined;
}
