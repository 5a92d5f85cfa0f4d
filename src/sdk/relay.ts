import { crcOf } from './crc-of.ts';
import {
  type IntegrityError,
  isIntegrityError,
  isRefusedError,
  isTemporaryError,
  SourceError,
  TemporaryError,
} from './errors.ts';
import { formatCrc32 } from './hashes.ts';
import type { Slot } from './slot.ts';
import { type Transfer, throttled } from './transfer.ts';

/** Bytes that arrive garbled so often were not garbled on the way. */
export const mostMismatches = 3;

/** Sends what is missing of a slot through the gateway: as a part where it can be one, in smaller ranges where the line breaks. */
export async function relaySlot(transfer: Transfer, slot: Slot): Promise<void> {
  const crc = await crcOf(transfer, slot);
  let mismatches = 0;
  while (!slot.isDone) {
    await transfer.patience.retry(async (failures) => {
      // After a break only the gateway knows what came: all of it, a piece, or nothing.
      if (failures > 0) {
        slot.retried();
        if (await hasMore(transfer, slot)) return;
      }
      try {
        await sendChunk(transfer, slot, crc);
      } catch (error) {
        if (isRefusedError(error) && (await isSettled(transfer, slot, error))) return;
        if (!isIntegrityError(error)) throw error;
        mismatches++;
        throw mismatches < mostMismatches ? again(error) : error;
      }
    }, slot.partNumber);
  }
  transfer.progress.storedParts += slot.endsPart ? 1 : 0;
  transfer.progress.changed();
}

/** Another try may carry the bytes as they are. */
export function again(mismatch: IntegrityError): TemporaryError {
  const { message, code, status, problem } = mismatch;
  return new TemporaryError(message, { code, status, problem, cause: mismatch });
}

async function sendChunk(transfer: Transfer, slot: Slot, crc: number): Promise<void> {
  const { client, upload, signal } = transfer;
  await transfer.gate.pass(signal);
  const { epoch } = transfer.chunk;
  const { offset, sizeBytes } = slot.next(transfer.chunk.bytes);
  const body = throttled(transfer, slot.read(offset, sizeBytes));
  const flight = transfer.progress.launch();
  const options = { signal, onSent: flight.sent };
  try {
    if (slot.isPart && slot.isUntouched && sizeBytes === slot.sizeBytes) {
      await client.putPart(upload.id, slot.partNumber, body, { ...options, digest: formatCrc32(crc) });
    } else {
      await client.putRange(upload.id, offset, upload.size, body, options);
    }
    stored(transfer, slot, sizeBytes);
  } catch (error) {
    if (isTemporaryError(error)) {
      transfer.parallelism.trouble();
      if (error.isBreak) transfer.chunk.broke(epoch, flight.bytes === 0 ? undefined : flight.bytes);
    }
    throw error;
  } finally {
    flight.arrived();
    flight.landed();
  }
}

function stored(transfer: Transfer, slot: Slot, sizeBytes: number): void {
  slot.stored(sizeBytes);
  transfer.chunk.held();
  transfer.parallelism.held();
  transfer.patience.renew();
  transfer.progress.stored(sizeBytes);
}

async function hasMore(transfer: Transfer, slot: Slot): Promise<boolean> {
  const found = slot.cutTo(await transfer.client.missingRanges(transfer.upload.id, { signal: transfer.signal }));
  if (found <= 0) return false;
  transfer.patience.renew();
  transfer.progress.stored(found);
  return true;
}

/** A refusal that means: these bytes are there already, or the upload has gone on without us. */
async function isSettled(
  transfer: Transfer,
  slot: Slot,
  refusal: Error & { problem: Readonly<Record<string, unknown>> },
): Promise<boolean> {
  const { conflict, uploadState } = refusal.problem;
  if (conflict === 'differs') {
    throw new SourceError(
      `The gateway has other bytes of part ${slot.partNumber} than are here. Begin anew: what was sent is dropped then.`,
      { code: 'source_changed', problem: refusal.problem, cause: refusal },
    );
  }
  if (uploadState !== 'completing' && uploadState !== 'completed') return false;
  return hasMore(transfer, slot);
}
