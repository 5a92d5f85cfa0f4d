import { crcOf } from './crc-of.ts';
import { IntegrityError, SourceError, UsageError } from './errors.ts';
import { parseCrc32 } from './hashes.ts';
import { Slot } from './slot.ts';
import type { SeekableSource } from './sources/source.ts';
import type { Transfer } from './transfer.ts';

/**
 * The slots of which bytes are missing, by the gateway's word. What is on record of the others is checked on the way.
 * @param holdsParts the source is read for the parts on record, and held against their CRC-32
 * @throws SourceError where it has other bytes
 */
export async function missingSlots(
  transfer: Transfer,
  source: SeekableSource,
  { holdsParts }: { readonly holdsParts: boolean },
): Promise<Slot[]> {
  const { client, upload, patience, signal } = transfer;
  const slots = await patience.retry(() => listSlots(transfer, source, holdsParts));
  const isWhole = slots.every(({ isUntouched }) => isUntouched) && upload.receivedBytes === 0;
  const missing = isWhole ? undefined : await patience.retry(() => client.missingRanges(upload.id, { signal }));
  if (missing !== undefined) for (const slot of slots) slot.cutTo(missing);
  const incomplete = slots.filter(({ isDone }) => !isDone);
  const missingBytes = incomplete.reduce((sum, slot) => sum + slot.missingBytes, 0);
  transfer.progress.begin({
    totalBytes: source.sizeBytes,
    storedBytes: source.sizeBytes - missingBytes,
    partCount: upload.partCount,
    storedParts: (upload.partCount ?? 0) - incomplete.length,
  });
  return incomplete;
}

async function listSlots(transfer: Transfer, source: SeekableSource, holdsParts: boolean): Promise<Slot[]> {
  const slots: Slot[] = [];
  for await (const { parts, missing } of transfer.client.listParts(transfer.upload.id, { signal: transfer.signal })) {
    for (const { partNumber, offset, size, checksum } of parts) {
      const part = { partNumber, offset, size, checksum };
      if (holdsParts) await requireSame(transfer, source, part);
      note(transfer, part);
    }
    for (const { partNumber, offset, size } of missing) {
      if (offset === undefined || size === undefined) {
        throw new UsageError(
          `Upload ${transfer.upload.id} has parts of free sizes: what is missing of it can't be told.`,
        );
      }
      slots.push(new Slot({ partNumber, offset, sizeBytes: size }, source.range));
    }
  }
  return slots;
}

interface ListedPart {
  readonly partNumber: number;
  readonly offset: number | undefined;
  readonly size: number;
  readonly checksum: string | undefined;
}

async function requireSame(
  transfer: Transfer,
  source: SeekableSource,
  { partNumber, offset, size, checksum }: ListedPart,
): Promise<void> {
  const stored = parseCrc32(checksum);
  if (offset === undefined || stored === undefined) return;
  if ((await crcOf(transfer, new Slot({ partNumber, offset, sizeBytes: size }, source.range))) === stored) return;
  throw new SourceError(`Part ${partNumber} of upload ${transfer.upload.id} has other bytes than the source.`, {
    code: 'source_changed',
  });
}

/** What an earlier call sent is taken on record: its digests were checked when it came. */
function note(transfer: Transfer, part: ListedPart): void {
  const value = parseCrc32(part.checksum);
  if (value === undefined || part.offset === undefined) return;
  const known = transfer.crcs.get(part.offset);
  if (known !== undefined && known.sizeBytes === part.size && known.value !== value) {
    throw new IntegrityError(`Part ${part.partNumber} is stored with another CRC-32 than it has here.`);
  }
  transfer.crcs.set(part.offset, { value, sizeBytes: part.size });
}
