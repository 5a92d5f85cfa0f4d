import { combineCrcs, type Digests, isCombinable, type RunningDigest, startDigest } from './digest.ts';
import { finishDigests, keptRunDigests } from './kept-digests.ts';
import type { Slot } from './layout.ts';
import type { Run, Upload } from './upload.ts';

const MiB = 1024 * 1024;
/** More would make the records large: of larger slots the runs are larger. */
const mostRuns = 32;

/**
 * The digests of a slot that comes in one piece, run by run: so a client that goes on with chunks of another size, and
 * sends some of it again, can be held against what is stored.
 */
export class RunDigests {
  readonly #slot: Slot;
  readonly #upload: Upload;
  readonly #runBytes: number;
  readonly #runs: { readonly offset: number; sizeBytes: number; readonly running: readonly RunningDigest[] }[] = [];
  #seenBytes = 0;

  constructor(upload: Upload, slot: Slot) {
    this.#upload = upload;
    this.#slot = slot;
    this.#runBytes = Math.max(MiB, Math.ceil(slot.sizeBytes / mostRuns / MiB) * MiB);
  }

  update(chunk: Buffer): void {
    for (let at = 0; at < chunk.length; ) {
      const inRun = this.#seenBytes % this.#runBytes;
      if (inRun === 0) this.#begin();
      const piece = chunk.subarray(at, at + this.#runBytes - inRun);
      const run = this.#runs.at(-1);
      if (run === undefined) throw new Error('a run that nobody began');
      for (const digest of run.running) digest.update(piece);
      run.sizeBytes += piece.length;
      this.#seenBytes += piece.length;
      at += piece.length;
    }
  }

  /** Once the slot is whole. Call once. */
  async finish(): Promise<{ readonly digests: Digests; readonly runs: readonly Run[] }> {
    const runs: Run[] = [];
    for (const { offset, sizeBytes, running } of this.#runs) {
      runs.push({ offset, sizeBytes, digests: await finishDigests(running) });
    }
    return { digests: combined(runs), runs };
  }

  #begin(): void {
    const running = keptRunDigests(this.#upload).map(startDigest);
    this.#runs.push({ offset: this.#slot.offset + this.#seenBytes, sizeBytes: 0, running });
  }
}

/** The digests of runs together, by those algorithms that all of them have. */
export function combined(runs: readonly Run[]): Digests {
  const [first, ...others] = runs;
  if (first === undefined || others.length === 0) return first?.digests ?? {};
  const names = Object.keys(first.digests) as (keyof Digests)[];
  return Object.fromEntries(
    names.filter(isCombinable).flatMap((name) => {
      const pieces = runs.flatMap(({ digests: { [name]: crc }, sizeBytes }) =>
        crc === undefined ? [] : [{ crc, sizeBytes }],
      );
      return pieces.length === runs.length ? [[name, combineCrcs(name, pieces)]] : [];
    }),
  );
}
