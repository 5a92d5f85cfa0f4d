import { Readable } from 'node:stream';

/** Buffers that are sent as one body, in one call to the socket, without being joined first. */
export class BufferList extends Readable {
  readonly length: number;
  readonly #buffers: readonly Buffer[];
  #next = 0;

  constructor(buffers: readonly Buffer[]) {
    super();
    this.#buffers = buffers;
    this.length = buffers.reduce((sum, { length }) => sum + length, 0);
  }

  override _read(): void {
    this.push(this.#buffers[this.#next++] ?? null);
  }

  override pipe<T extends NodeJS.WritableStream>(destination: T): T {
    for (const buffer of this.#buffers) destination.write(buffer);
    destination.end();
    return destination;
  }
}
