import { Transform, type TransformCallback } from 'node:stream';
import type { RunningDigest } from './digest.ts';
import { pipeAndTell } from './pipe-and-tell.ts';

/** The body brought more or fewer bytes than were announced. */
export class BodyLengthError extends Error {
  override readonly name = 'BodyLengthError';
}

/**
 * A part's body on its way to the store. It counts, hashes along where asked, and withholds the last buffer
 * until `beforeLast` resolves. A store takes a part whole or not at all: as long as that buffer is missing
 * nothing is replaced, so a digest can still fail and a newer request can still displace this one.
 */
export class PartBody extends Transform {
  receivedBytes = 0;
  readonly #sizeBytes: number;
  readonly #digests: readonly RunningDigest[];
  readonly #beforeLast: () => Promise<void>;
  readonly #afterSent: ((chunk: Buffer) => void) | undefined;
  #withheld: Buffer | undefined;

  constructor(options: {
    readonly sizeBytes: number;
    readonly digests: readonly RunningDigest[];
    readonly beforeLast: () => Promise<void>;
    /** Called with each buffer once the stream that this one is piped into needs it no longer. */
    readonly afterSent?: ((chunk: Buffer) => void) | undefined;
  }) {
    super();
    this.#sizeBytes = options.sizeBytes;
    this.#digests = options.digests;
    this.#beforeLast = options.beforeLast;
    this.#afterSent = options.afterSent;
  }

  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    if (chunk.length === 0) {
      done();
      return;
    }
    this.receivedBytes += chunk.length;
    if (this.receivedBytes > this.#sizeBytes) {
      done(new BodyLengthError(`body longer than ${this.#sizeBytes} bytes`));
      return;
    }
    for (const digest of this.#digests) digest.update(chunk);
    const previous = this.#withheld;
    this.#withheld = chunk;
    done(null, previous);
  }

  override _flush(done: TransformCallback): void {
    if (this.receivedBytes < this.#sizeBytes) {
      done(new BodyLengthError(`body ended after ${this.receivedBytes} of ${this.#sizeBytes} bytes`));
      return;
    }
    this.#beforeLast().then(
      () => done(null, this.#withheld),
      (error: unknown) => done(error instanceof Error ? error : new Error(String(error))),
    );
  }

  override pipe<T extends NodeJS.WritableStream>(destination: T, options: { readonly end?: boolean } = {}): T {
    const afterSent = this.#afterSent;
    if (afterSent === undefined) return super.pipe(destination, options);
    return pipeAndTell(this, destination, { onSent: afterSent });
  }
}
