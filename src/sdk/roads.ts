import { Direct } from './direct.ts';
import { isRefusedError, isTemporaryError, type PartwayError } from './errors.ts';
import type { UploadMode } from './options.ts';
import { relaySlot } from './relay.ts';
import type { Slot } from './slot.ts';
import type { Transfer } from './transfer.ts';

/** A store that the first part does not reach soon is one that can't be reached from here. */
const trialTimeoutMs = 15_000;
const mostFailures = 3;

/** By which way slots travel. `auto` tries the direct one with its first part, and leaves it where it fails. */
export class Roads {
  readonly #transfer: Transfer;
  readonly #direct: Direct;
  readonly #mayLeave: boolean;
  #isTrial: boolean;
  #mode: 'relay' | 'direct';

  constructor(transfer: Transfer, mode: UploadMode) {
    this.#transfer = transfer;
    this.#direct = new Direct(transfer);
    this.#mayLeave = mode === 'auto';
    this.#isTrial = mode === 'auto';
    this.#mode = mode === 'relay' ? 'relay' : 'direct';
    if (!this.#isTrial) transfer.emit({ type: 'mode', mode: this.#mode });
  }

  get mode(): 'relay' | 'direct' {
    return this.#mode;
  }

  /** No part went past the gateway: it has the CRC-32 of each. */
  get areAllRelayed(): boolean {
    return !this.#direct.hasSent;
  }

  /** Finds the way with one slot, alone, where it is not known yet. Whether the slot was sent. */
  async try(slot: Slot): Promise<boolean> {
    if (!this.#isTrial || !canGoDirect(slot)) return false;
    this.#isTrial = false;
    try {
      await this.#direct.send(slot, trialTimeoutMs);
      this.#transfer.emit({ type: 'mode', mode: 'direct' });
      return true;
    } catch (error) {
      if (!isTemporaryError(error) && !isRefusedError(error)) throw error;
      this.#leave(error);
      return false;
    }
  }

  async send(slot: Slot): Promise<void> {
    if (this.#mode === 'relay' || !canGoDirect(slot)) return relaySlot(this.#transfer, slot);
    await this.#transfer.patience.retry(async (failures) => {
      // What others met meanwhile counts for this one, too.
      if (this.#mode === 'relay') return relaySlot(this.#transfer, slot);
      try {
        await this.#direct.send(slot);
      } catch (error) {
        if (!this.#mayLeave || !(isRefusedError(error) || (isTemporaryError(error) && failures + 1 >= mostFailures))) {
          throw error;
        }
        this.#leave(error);
        await relaySlot(this.#transfer, slot);
      }
    }, slot.partNumber);
  }

  /** Everything that was sent is on record. */
  async end(): Promise<void> {
    await this.#direct.end();
    this.#transfer.signal.throwIfAborted();
  }

  #leave(why: PartwayError): void {
    if (this.#mode === 'relay') return;
    this.#mode = 'relay';
    this.#transfer.emit({ type: 'mode', mode: 'relay', reason: why.message });
  }
}

function canGoDirect(slot: Slot): boolean {
  return slot.isPart && slot.isUntouched && slot.sizeBytes > 0;
}
