import { Readable, type Writable } from 'node:stream';

/** A body on its way, that knows whether all of it has left: a store can answer before it has read to the end. */
export class Sending extends Readable {
  readonly #body: Readable;
  #destination: Writable | undefined;

  constructor(body: Readable) {
    super();
    this.#body = body;
  }

  override pipe<T extends NodeJS.WritableStream>(destination: T): T {
    this.#destination = destination as NodeJS.WritableStream as Writable;
    return this.#body.pipe(destination);
  }

  /** Whether the last byte has been handed to the kernel, or is within the time. */
  async isSent(withinMs: number): Promise<boolean> {
    const destination = this.#destination;
    if (destination === undefined || destination.writableFinished) return true;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, withinMs);
      const done = () => {
        clearTimeout(timer);
        resolve();
      };
      destination.once('finish', done);
      destination.once('close', done);
    });
    return destination.writableFinished;
  }
}
