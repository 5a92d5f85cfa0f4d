import { type DigestAlgorithm, type Digests, type RunningDigest, startDigest } from './digest.ts';
import { UploadError } from './errors.ts';
import { finishDigests } from './kept-digests.ts';

/** What a client states of a body, held against the body as it passes. */
export class StatedDigests {
  /** `undefined` where nothing is stated. */
  static of(stated: Digests = {}): StatedDigests | undefined {
    return Object.keys(stated).length === 0 ? undefined : new StatedDigests(stated);
  }

  readonly #stated: Digests;
  readonly #running: readonly RunningDigest[];
  #verified: Promise<void> | undefined;

  constructor(stated: Digests) {
    this.#stated = stated;
    this.#running = (Object.keys(stated) as DigestAlgorithm[]).map(startDigest);
  }

  see(chunk: Buffer): void {
    for (const digest of this.#running) digest.update(chunk);
  }

  /** Once all of the body was seen. @throws UploadError `digest_mismatch` */
  verify(): Promise<void> {
    this.#verified ??= finishDigests(this.#running).then((seen) => requireTrue(this.#stated, seen));
    return this.#verified;
  }
}

/** @throws UploadError `digest_mismatch` where one that was computed is not the one stated */
export function requireTrue(stated: Digests, computed: Digests): void {
  for (const [algorithm, value] of Object.entries(computed)) {
    const wanted = stated[algorithm as DigestAlgorithm];
    if (wanted !== undefined && wanted !== value) {
      throw new UploadError('digest_mismatch', `The body's ${algorithm} is not the one stated. Nothing was stored.`, {
        details: { algorithm },
      });
    }
  }
}
