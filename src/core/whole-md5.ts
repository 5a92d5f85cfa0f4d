import { UploadError } from './errors.ts';
import { md5Of, type RunningMd5, startMd5 } from './running-md5.ts';
import type { Upload } from './upload.ts';

/** The MD5 that a client states of the whole with the last of its bytes, held against what was carried along with the others. */
export class WholeMd5 {
  /**
   * @param saved of the bytes before
   * @param offset where the last of the bytes begin
   */
  static async of(saved: Upload['digestChain'], offset: number, stated: string): Promise<WholeMd5> {
    return new WholeMd5(await startMd5(saved), offset, stated);
  }

  readonly #chain: RunningMd5;
  readonly #stated: string;
  #offset: number;

  private constructor(chain: RunningMd5, offset: number, stated: string) {
    this.#chain = chain;
    this.#offset = offset;
    this.#stated = stated;
  }

  see(chunk: Buffer): void {
    this.#chain.feed(this.#offset, chunk);
    this.#offset += chunk.length;
  }

  /** Once all bytes were seen: what came out of order can't be checked. @throws UploadError `digest_mismatch` */
  async verify(): Promise<void> {
    const saved = this.#chain.save();
    const md5 = saved && (await md5Of(saved));
    if (md5 === undefined || md5 === this.#stated) return;
    throw new UploadError('digest_mismatch', `The md5 of the whole is ${md5}, not ${this.#stated}.`, {
      details: { algorithm: 'md5', expected: this.#stated, actual: md5 },
    });
  }
}
