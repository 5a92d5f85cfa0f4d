import type { BodyReader } from './body-reader.ts';
import { compareRun } from './compare-runs.ts';
import type { Slot } from './layout.ts';
import { giveBack, leaseGap } from './lease-gap.ts';
import type { RangeWrite } from './range-write.ts';

/**
 * A slot that comes again whole, after all of it has become durable: its runs are compared as the bytes pass, however
 * large it is.
 * @returns false where some of the slot is not durable
 * @throws UploadError `state_conflict` where they differ
 */
export async function repeatSlot(write: RangeWrite, slot: Slot, reader: BodyReader): Promise<boolean> {
  const end = slot.offset + slot.sizeBytes;
  const lease = await leaseGap(write, slot, { from: slot.offset, to: end });
  await giveBack(write, lease);
  if (lease.gap !== undefined) return false;
  for (const run of lease.runs) {
    if (run.offset < write.skipsTo) await reader.pass(run.sizeBytes, () => undefined);
    else await compareRun(run, (see) => reader.pass(run.sizeBytes, see));
  }
  return true;
}
