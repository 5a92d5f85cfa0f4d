import { isIntegrityError, isRefusedError, isTemporaryError, TemporaryError } from './errors.ts';
import { formatDigest } from './hashes.ts';
import type { Flight } from './progress.ts';
import { again } from './relay.ts';
import { type Run, throttled } from './run.ts';
import type { Slot } from './slot.ts';
import { interruptible } from './wait.ts';

/** A part that the store has taken, and the gateway has not heard of yet. */
interface Arrived {
  readonly slot: Slot;
  readonly flight: Flight;
  readonly part: {
    readonly partNumber: number;
    readonly etag: string;
    readonly size: number;
    readonly checksum: string;
  };
}

/**
 * Sends a slot straight to the store: by a URL that is signed for this content alone, so that the store itself
 * refuses any other. The MD5 costs more than a CRC-32, but every store checks it.
 */
export async function sendDirect(run: Run, slot: Slot, timeoutMs?: number): Promise<Arrived> {
  const checksum = formatDigest('md5', await run.hashes.md5(slot.read(slot.offset, slot.sizeBytes)));
  const { client, upload, signal } = run;
  await run.gate.pass(signal);
  const signed = await client.sign(upload.id, slot.partNumber, checksum, { signal });
  if (signed === undefined) throw new TemporaryError('the gateway signed no URL', { code: 'no_gateway' });
  const flight = run.progress.launch();
  try {
    const body = throttled(run, slot.read(slot.offset, slot.sizeBytes));
    const etag = await client.putSigned(signed, body, { signal, timeoutMs, onSent: flight.sent });
    run.parallelism.held();
    run.patience.renew();
    return { slot, flight, part: { partNumber: slot.partNumber, etag, size: slot.sizeBytes, checksum } };
  } catch (error) {
    flight.landed();
    if (isTemporaryError(error)) run.parallelism.trouble();
    throw isIntegrityError(error) ? again(error) : error;
  } finally {
    flight.arrived();
  }
}

/**
 * Tells the gateway which parts went straight to the store. One report at a time, with all that has arrived
 * meanwhile; the store lists its parts for each, so they take a tenth of the time at most.
 */
export class Reporter {
  readonly #run: Run;
  #waiting: Arrived[] = [];
  #reporting: Promise<void> | undefined;
  #isLast = Promise.withResolvers<void>();

  constructor(run: Run) {
    this.#run = run;
  }

  add(arrived: Arrived): void {
    this.#waiting.push(arrived);
    this.#reporting ??= this.#reportAll()
      .catch(this.#run.fail)
      .finally(() => {
        this.#reporting = undefined;
      });
  }

  /** All that arrived is on record, or the run has failed. */
  async end(): Promise<void> {
    this.#isLast.resolve();
    await this.#reporting;
    this.#isLast = Promise.withResolvers();
  }

  async #reportAll(): Promise<void> {
    while (this.#waiting.length > 0) {
      const parts = this.#waiting.splice(0);
      const begunMs = performance.now();
      await this.#report(parts);
      const pauseMs = 9 * (performance.now() - begunMs);
      await Promise.race([interruptible(Math.min(longestPauseMs, pauseMs), this.#run.signal), this.#isLast.promise]);
    }
  }

  async #report(arrived: readonly Arrived[]): Promise<void> {
    const { client, upload, patience, progress, signal } = this.#run;
    const parts = arrived.map(({ part }) => part);
    await patience.retry(async () => {
      try {
        await client.report(upload.id, parts, { signal });
      } catch (error) {
        // The store does not show them yet, or has lost them: what stays missing is sent again.
        if (!isRefusedError(error) || error.code !== 'incomplete') throw error;
      }
    });
    for (const { slot, flight } of arrived) {
      progress.stored(slot.missingBytes);
      slot.stored(slot.sizeBytes);
      progress.storedParts++;
      flight.landed();
    }
  }
}

const longestPauseMs = 10_000;
