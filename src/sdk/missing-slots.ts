import { crcOf } from './crc-of.ts';
import { IntegrityError, SourceError, UsageError } from './errors.ts';
import { parseCrc32 } from './hashes.ts';
import { Slot } from './slot.ts';
import type { SeekableSource } from './sources/source.ts';
import type { Transfer } from './transfer.ts';

/**
 * The source's own CRC-32 of each part that is on record: of an upload that is gone on with by its id alone nothing else
 * tells that its parts came from this source.
 * @throws SourceError
 */
export async function requireSameParts(transfer: Transfer, source: SeekableSource): Promise<void> {
  const { client, upload, patience, signal } = transfer;
  const found = await patience.retry(() => Array.fromAsync(client.listParts(upload.id, { signal })));
  for (const { partNumber, offset, size, checksum } of found.flatMap(({ parts }) => parts)) {
    const stored = parseCrc32(checksum);
    if (offset === undefined || stored === undefined) continue;
    if ((await crcOf(transfer, new Slot({ partNumber, offset, sizeBytes: size }, source.range))) === stored) continue;
    throw new SourceError(`Part ${partNumber} of upload ${upload.id} has other bytes than the source.`, {
      code: 'source_changed',
    });
  }
}

/** The slots of which bytes are missing, by the gateway's word. What is on record of the others is checked on the way. */
export async function missingSlots(transfer: Transfer, source: SeekableSource): Promise<Slot[]> {
  const { client, upload, patience, signal } = transfer;
  const slots = await patience.retry(() => listSlots(transfer, source));
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

async function listSlots(transfer: Transfer, source: SeekableSource): Promise<Slot[]> {
  const slots: Slot[] = [];
  for await (const { parts, missing } of transfer.client.listParts(transfer.upload.id, { signal: transfer.signal })) {
    for (const { partNumber, offset, size, checksum } of parts) note(transfer, { partNumber, offset, size, checksum });
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

/** What an earlier call sent is taken on record: its digests were checked when it came. */
function note(
  transfer: Transfer,
  part: {
    readonly partNumber: number;
    readonly offset: number | undefined;
    readonly size: number;
    readonly checksum: string | undefined;
  },
): void {
  const value = parseCrc32(part.checksum);
  if (value === undefined || part.offset === undefined) return;
  const known = transfer.crcs.get(part.offset);
  if (known !== undefined && known.sizeBytes === part.size && known.value !== value) {
    throw new IntegrityError(`Part ${part.partNumber} is stored with another CRC-32 than it has here.`);
  }
  transfer.crcs.set(part.offset, { value, sizeBytes: part.size });
}
