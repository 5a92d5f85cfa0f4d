import type { CoreSettings } from './deps.ts';
import { UploadError, type UploadErrorDetails } from './errors.ts';
import { type PlannedLayout, rangeOf } from './layout.ts';
import { requireSize } from './limits.ts';
import type { StoreLimits } from './object-store.ts';
import type { Part, Upload } from './upload.ts';

/** A part as its sender announces it. */
export interface AnnouncedPart {
  readonly partNumber: number;
  readonly sizeBytes: number;
  /** Where it begins, as the client says. */
  readonly offset?: number | undefined;
  /** The whole upload's size, as the client says. */
  readonly totalBytes?: number | undefined;
}

export interface PartPlace {
  readonly offset: number | undefined;
  /** Shorter than its slot while the upload's size is unknown: the last part. */
  readonly fixesSize: boolean;
}

/** @throws UploadError `limit_exceeded` */
export function requireLimits(limits: StoreLimits, { partNumber, sizeBytes }: AnnouncedPart): void {
  const { maxParts, maxPartSizeBytes } = limits;
  if (partNumber < 1 || partNumber > maxParts) {
    throw new UploadError('limit_exceeded', `Part numbers run from 1 to ${maxParts}.`, {
      details: { limit: maxParts },
    });
  }
  if (sizeBytes > maxPartSizeBytes) {
    throw new UploadError('limit_exceeded', `A part may have ${maxPartSizeBytes} bytes at most.`, {
      details: { limit: maxPartSizeBytes },
    });
  }
}

/**
 * Where an announced part belongs.
 * @param earlier the durable part that it would replace
 * @throws UploadError `part_size_mismatch`, `limit_exceeded`
 */
export function placeOfPart(
  upload: Upload,
  earlier: Part | undefined,
  announced: AnnouncedPart,
  settings: CoreSettings,
): PartPlace {
  const { totalBytes: statedBytes } = announced;
  if (statedBytes !== undefined && statedBytes !== (upload.sizeBytes ?? statedBytes)) {
    throw new UploadError('state_conflict', `The upload has ${upload.sizeBytes} bytes, not ${statedBytes}.`, {
      details: { expectedSize: upload.sizeBytes },
    });
  }
  if (upload.layout.kind === 'planned') {
    const place = plannedPlace(upload, upload.layout, announced);
    requireSize(place.offset + announced.sizeBytes, settings);
    return place;
  }
  const { offset, sizeBytes, partNumber } = announced;
  if (sizeBytes === 0 && partNumber > 1) throw sizeMismatch('An empty part can only be the first.', {});
  const totalBytes = upload.receivedBytes - (earlier?.sizeBytes ?? 0) + sizeBytes;
  requireSize(totalBytes, settings);
  if (totalBytes > (upload.sizeBytes ?? totalBytes)) throw beyondSizeError(upload.sizeBytes);
  return { offset, fixesSize: false };
}

function plannedPlace(
  upload: Upload,
  layout: PlannedLayout,
  { partNumber, sizeBytes, offset }: AnnouncedPart,
): PartPlace & { readonly offset: number } {
  const slot = rangeOf(layout, partNumber, upload.sizeBytes);
  if (slot === undefined) {
    throw new UploadError('limit_exceeded', `The upload ends before part ${partNumber}.`, {
      details: { limit: upload.sizeBytes },
    });
  }
  const expected = { offset: slot.offset, expectedSize: slot.sizeBytes };
  if (offset !== undefined && offset !== slot.offset) {
    throw sizeMismatch(`Part ${partNumber} begins at ${slot.offset}.`, expected);
  }
  if (sizeBytes === slot.sizeBytes) return { offset: slot.offset, fixesSize: false };
  const mayBeLast = upload.sizeBytes === undefined && sizeBytes < slot.sizeBytes;
  if (mayBeLast && (sizeBytes > 0 || partNumber === 1)) return { offset: slot.offset, fixesSize: true };
  throw sizeMismatch(
    mayBeLast
      ? 'A last part has at least one byte: complete the upload instead.'
      : `Part ${partNumber} has ${slot.sizeBytes} bytes from ${slot.offset}, not ${sizeBytes}.`,
    expected,
  );
}

function sizeMismatch(message: string, details: UploadErrorDetails): UploadError {
  return new UploadError('part_size_mismatch', message, { details });
}

export function beyondSizeError(sizeBytes?: number): UploadError {
  return sizeMismatch('The parts together would be larger than the upload.', { uploadSize: sizeBytes });
}

export function laterBytesError(): UploadError {
  return new UploadError('state_conflict', 'A part this short would be the last, but later bytes are stored.');
}
