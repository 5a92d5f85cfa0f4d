import type { Deps } from '../../core/deps.ts';
import { type ObjectDigests, objectDigests } from '../../core/object-digests.ts';
import type { Upload } from '../../core/upload.ts';

const mostRemembered = 1000;

/** Spares an object that has to be read back for its digests a second reading, when its client asks again. */
export class RecentDigests {
  readonly #core: Deps;
  readonly #readBackBytes: number;
  readonly #recent = new Map<string, Promise<ObjectDigests>>();

  constructor(core: Deps, readBackBytes: number) {
    this.#core = core;
    this.#readBackBytes = readBackBytes;
  }

  /** @throws UploadError `store_*`; the next call tries again */
  async of(upload: Upload): Promise<ObjectDigests> {
    const known = this.#recent.get(upload.id);
    if (known !== undefined) return known;
    if (this.#recent.size >= mostRemembered) this.#recent.clear();
    const digests = objectDigests(this.#core, upload, {
      readBackBytes: this.#readBackBytes,
      signal: this.#core.halted,
    });
    this.#recent.set(upload.id, digests);
    digests.catch(() => this.#recent.delete(upload.id));
    return digests;
  }
}
