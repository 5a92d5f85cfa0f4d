import { type DigestAlgorithm, type Digests, type RunningDigest, startDigest } from './digest.ts';
import { UploadError } from './errors.ts';
import { finishDigests } from './kept-digests.ts';

/** What is stated only behind the body: digests by some of these algorithms. */
export interface TrailingDigests {
  readonly among: readonly DigestAlgorithm[];
  /** Called once the body has ended. @throws UploadError where nothing is stated, or nothing that can be a digest */
  readonly stated: () => Digests;
}

/** What a client states of a body, held against the body as it passes. */
export class StatedDigests {
  /** `undefined` where nothing is stated. */
  static of(stated: Digests | TrailingDigests = {}): StatedDigests | undefined {
    if (isTrailing(stated)) return new StatedDigests(stated);
    const among = Object.keys(stated) as DigestAlgorithm[];
    return among.length === 0 ? undefined : new StatedDigests({ among, stated: () => stated });
  }

  readonly #stated: () => Digests;
  readonly #running: readonly RunningDigest[];
  #verified: Promise<void> | undefined;

  private constructor({ among, stated }: TrailingDigests) {
    this.#stated = stated;
    this.#running = among.map(startDigest);
  }

  see(chunk: Buffer): void {
    for (const digest of this.#running) digest.update(chunk);
  }

  /** Once all of the body was seen. @throws UploadError `digest_mismatch` */
  verify(): Promise<void> {
    this.#verified ??= finishDigests(this.#running).then((seen) => requireTrue(this.#stated(), seen));
    return this.#verified;
  }

  /**
   * Of a body that conflicts with what is stored: one that is not even what its client states says nothing of the upload.
   * @throws UploadError `digest_mismatch`; as `drain`
   */
  async verifyToEnd(body: { drain(): Promise<void> }): Promise<void> {
    await body.drain();
    await this.verify();
  }
}

function isTrailing(stated: Digests | TrailingDigests): stated is TrailingDigests {
  return 'among' in stated;
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
