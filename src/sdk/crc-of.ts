import { crc32Of } from './hashes.ts';
import type { Run } from './run.ts';
import type { Slot } from './slot.ts';

/** The CRC-32 of all of the slot. It is read for it once. */
export async function crcOf(run: Run, slot: Slot): Promise<number> {
  const known = run.crcs.get(slot.offset);
  if (known?.sizeBytes === slot.sizeBytes) return known.value;
  const value = crc32Of(await run.hashes.crc32(slot.read(slot.offset, slot.sizeBytes)));
  run.crcs.set(slot.offset, { value, sizeBytes: slot.sizeBytes });
  return value;
}
