import { crcOf } from './crc-of.ts';
import { isIntegrityError, isRefusedError, isTemporaryError, TemporaryError } from './errors.ts';
import { formatCrc32, formatDigest } from './hashes.ts';
import type { Flight } from './progress.ts';
import { again, mostMismatches } from './relay.ts';
import type { Slot } from './slot.ts';
import { type Transfer, throttled } from './transfer.ts';

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
 * Sends slots straight to the store, each by a URL that is signed for this content alone, so that the store itself
 * refuses any other.
 */
export class Direct {
  readonly #transfer: Transfer;
  readonly #reporter: Reporter;
  /** Every store checks an MD5, which costs more than all else of a part. */
  #pin: 'crc32' | 'md5';
  #hasSent = false;
  /** How often each part has arrived garbled. */
  readonly #mismatches = new Map<number, number>();

  constructor(transfer: Transfer) {
    this.#transfer = transfer;
    this.#reporter = new Reporter(transfer);
    this.#pin = transfer.upload.signedChecksum ?? 'md5';
  }

  get hasSent(): boolean {
    return this.#hasSent;
  }

  async send(slot: Slot, timeoutMs?: number): Promise<void> {
    const { client, upload, signal, gate, progress, parallelism, patience } = this.#transfer;
    const checksum = await this.#checksumOf(slot);
    await gate.pass(signal);
    // Its failures tell nothing of the store.
    const signed = await patience.retry(() => client.sign(upload.id, slot.partNumber, checksum, { signal }));
    if (signed === undefined) throw new TemporaryError('the gateway signed no URL', { code: 'no_gateway' });
    const flight = progress.launch();
    try {
      const body = throttled(this.#transfer, slot.read(slot.offset, slot.sizeBytes));
      const stored = await client.putSigned(signed, body, { signal, timeoutMs, onSent: flight.sent });
      this.#requireChecked(checksum, stored.checksum);
      this.#hasSent = true;
      parallelism.held();
      patience.renew();
      this.#reporter.add({
        slot,
        flight,
        part: { partNumber: slot.partNumber, etag: stored.etag, size: slot.sizeBytes, checksum },
      });
    } catch (error) {
      flight.landed();
      if (isTemporaryError(error)) parallelism.trouble();
      if (!isIntegrityError(error)) throw error;
      const mismatches = (this.#mismatches.get(slot.partNumber) ?? 0) + 1;
      this.#mismatches.set(slot.partNumber, mismatches);
      throw mismatches < mostMismatches ? again(error) : error;
    } finally {
      flight.arrived();
    }
  }

  /** All that was sent is on record, or the transfer has failed. */
  end(): Promise<void> {
    return this.#reporter.end();
  }

  async #checksumOf(slot: Slot): Promise<string> {
    if (this.#pin === 'crc32') return formatCrc32(await crcOf(this.#transfer, slot));
    return formatDigest('md5', await this.#transfer.hashes.md5(slot.read(slot.offset, slot.sizeBytes)));
  }

  /**
   * A store that verifies a CRC-32 repeats it. Amazon S3 API Reference, UploadPart: "x-amz-checksum-crc32 … This checksum
   * is only present if the checksum was uploaded with the object."
   */
  #requireChecked(sent: string, answered: string | undefined): void {
    if (!sent.startsWith('crc32=') || sent === answered) return;
    this.#pin = 'md5';
    throw new TemporaryError('the store does not say that it has checked the part', { code: 'unchecked' });
  }
}

/** Tells the gateway which parts went straight to the store. One report at a time, with all that has arrived meanwhile. */
class Reporter {
  readonly #transfer: Transfer;
  #waiting: Arrived[] = [];
  #reporting: Promise<void> | undefined;

  constructor(transfer: Transfer) {
    this.#transfer = transfer;
  }

  add(arrived: Arrived): void {
    this.#waiting.push(arrived);
    this.#reporting ??= this.#reportAll();
  }

  /** All that arrived is on record, or the transfer has failed. */
  async end(): Promise<void> {
    await this.#reporting;
  }

  async #reportAll(): Promise<void> {
    try {
      while (this.#waiting.length > 0) await this.#report(this.#waiting.splice(0));
    } catch (error) {
      this.#transfer.fail(error);
    } finally {
      // In one step with the last look: what arrives from here on begins a report of its own.
      this.#reporting = undefined;
    }
  }

  async #report(arrived: readonly Arrived[]): Promise<void> {
    const { client, upload, patience, progress, signal } = this.#transfer;
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
