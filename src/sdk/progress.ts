import type { UploadProgress } from './options.ts';
import { Rate } from './rate.ts';

const tellEveryMs = 125;

/** A request with a body. */
export interface Flight {
  /** Bytes that have left. */
  readonly bytes: number;
  sent(bytes: number): void;
  /** The request has ended, however it did. */
  arrived(): void;
  /** Its bytes are stored, or lost. */
  landed(): void;
}

/** Counts, and tells. */
export class Progress {
  readonly #tell: ((progress: UploadProgress) => void) | undefined;
  readonly #rate = new Rate();
  #toldAtMs = Number.NEGATIVE_INFINITY;
  #later: ReturnType<typeof setTimeout> | undefined;
  phase: UploadProgress['phase'] = 'opening';
  totalBytes: number | undefined;
  storedBytes = 0;
  resumedBytes = 0;
  storedParts = 0;
  partCount: number | undefined;
  retries = 0;
  #sentBytes = 0;
  /** Of requests under way. */
  #flyingBytes = 0;
  #requestsInFlight = 0;

  constructor(tell: ((progress: UploadProgress) => void) | undefined) {
    this.#tell = tell;
  }

  get sentBytes(): number {
    return this.#sentBytes;
  }

  /** A request with a body begins. */
  launch(): Flight {
    let bytes = 0;
    this.#requestsInFlight++;
    this.changed();
    return {
      get bytes() {
        return bytes;
      },
      sent: (more) => {
        bytes += more;
        this.#sentBytes += more;
        this.#flyingBytes += more;
        this.changed();
      },
      arrived: () => {
        this.#requestsInFlight--;
      },
      landed: () => {
        this.#flyingBytes -= bytes;
        this.changed();
      },
    };
  }

  /** Another upload is begun, or gone on with. */
  beginAnew(): void {
    this.totalBytes = undefined;
    this.resumedBytes = 0;
  }

  /** What is stored, as the gateway tells it. The first time: by earlier calls. */
  begin(found: {
    readonly totalBytes: number;
    readonly storedBytes: number;
    readonly partCount: number | undefined;
    readonly storedParts: number;
  }): void {
    if (this.totalBytes === undefined) this.resumedBytes = found.storedBytes;
    Object.assign(this, found);
    this.changed();
  }

  stored(bytes: number): void {
    this.storedBytes += bytes;
    this.changed();
  }

  enter(phase: UploadProgress['phase']): void {
    this.phase = phase;
    this.#tellNow();
  }

  changed(): void {
    const nowMs = performance.now();
    this.#rate.note(this.#sentBytes, nowMs);
    if (this.#tell === undefined) return;
    if (nowMs - this.#toldAtMs >= tellEveryMs) this.#tellNow();
    else this.#later ??= setTimeout(() => this.#tellNow(), tellEveryMs);
  }

  /** Tells nothing any more. */
  close(): void {
    clearTimeout(this.#later);
    this.#later = undefined;
  }

  get now(): UploadProgress {
    const { phase, totalBytes, storedBytes, resumedBytes, storedParts, partCount, retries } = this;
    const bytesPerSecond = this.#rate.perSecond(this.#sentBytes, performance.now());
    const reached = storedBytes + this.#flyingBytes;
    const reachedBytes = Math.min(reached, totalBytes ?? reached);
    const isGuess = totalBytes === undefined || bytesPerSecond === undefined || bytesPerSecond <= 0;
    return {
      phase,
      totalBytes,
      storedBytes,
      reachedBytes,
      resumedBytes,
      sentBytes: this.#sentBytes,
      bytesPerSecond,
      remainingMs: isGuess ? undefined : ((totalBytes - reachedBytes) / bytesPerSecond) * 1000,
      storedParts,
      partCount,
      requestsInFlight: this.#requestsInFlight,
      retries,
    };
  }

  #tellNow(): void {
    this.close();
    this.#toldAtMs = performance.now();
    this.#tell?.(this.now);
  }
}
