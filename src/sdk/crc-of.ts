import { crc32Of } from './hashes.ts';
import type { Slot } from './slot.ts';
import type { Transfer } from './transfer.ts';

/** The CRC-32 of all of the slot. It is read for it once. */
export async function crcOf(transfer: Transfer, slot: Slot): Promise<number> {
  const known = transfer.crcs.get(slot.offset);
  if (known?.sizeBytes === slot.sizeBytes) return known.value;
  const value = crc32Of(await transfer.hashes.crc32(slot.read(slot.offset, slot.sizeBytes)));
  transfer.crcs.set(slot.offset, { value, sizeBytes: slot.sizeBytes });
  return value;
}
