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
import { type Run, throttled } from './run.ts';
import type { Slot } from './slot.ts';

/** Bytes that arrive garbled so often were not garbled on the way. */
export const mostMismatches = 3;

/** Sends what is missing of a slot through the gateway: as a part where it can be one, in smaller ranges where the line breaks. */
export async function relaySlot(run: Run, slot: Slot): Promise<void> {
  const crc = await crcOf(run, slot);
  let mismatches = 0;
  while (!slot.isDone) {
    await run.patience.retry(async (failures) => {
      // After a break only the gateway knows what came: all of it, a piece, or nothing.
      if (failures > 0) {
        slot.retried();
        if (await hasMore(run, slot)) return;
      }
      try {
        await sendChunk(run, slot, crc);
      } catch (error) {
        if (isRefusedError(error) && (await isSettled(run, slot, error))) return;
        if (!isIntegrityError(error)) throw error;
        mismatches++;
        throw mismatches < mostMismatches ? again(error) : error;
      }
    }, slot.partNumber);
  }
  run.progress.storedParts += slot.endsPart ? 1 : 0;
  run.progress.changed();
}

/** Another try may carry the bytes as they are. */
export function again(mismatch: IntegrityError): TemporaryError {
  const { message, code, status, problem } = mismatch;
  return new TemporaryError(message, { code, status, problem, cause: mismatch });
}

async function sendChunk(run: Run, slot: Slot, crc: number): Promise<void> {
  const { client, upload, signal } = run;
  await run.gate.pass(signal);
  const { epoch } = run.chunk;
  const { offset, sizeBytes } = slot.next(run.chunk.bytes);
  const body = throttled(run, slot.read(offset, sizeBytes));
  const flight = run.progress.launch();
  const options = { signal, onSent: flight.sent };
  try {
    if (slot.isPart && slot.isUntouched && sizeBytes === slot.sizeBytes) {
      await client.putPart(upload.id, slot.partNumber, body, { ...options, digest: formatCrc32(crc) });
    } else {
      await client.putRange(upload.id, offset, upload.size, body, options);
    }
    stored(run, slot, sizeBytes);
  } catch (error) {
    if (isTemporaryError(error)) {
      run.parallelism.trouble();
      if (error.isBreak) run.chunk.broke(epoch, flight.bytes === 0 ? undefined : flight.bytes);
    }
    throw error;
  } finally {
    flight.arrived();
    flight.landed();
  }
}

function stored(run: Run, slot: Slot, sizeBytes: number): void {
  slot.stored(sizeBytes);
  run.chunk.held();
  run.parallelism.held();
  run.patience.renew();
  run.progress.stored(sizeBytes);
}

async function hasMore(run: Run, slot: Slot): Promise<boolean> {
  const found = slot.cutTo(await run.client.missingRanges(run.upload.id, { signal: run.signal }));
  if (found <= 0) return false;
  run.patience.renew();
  run.progress.stored(found);
  return true;
}

/** A refusal that means: these bytes are there already, or the upload has gone on without us. */
async function isSettled(
  run: Run,
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
  return hasMore(run, slot);
}
