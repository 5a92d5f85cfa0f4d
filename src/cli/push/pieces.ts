import type { Readable } from 'node:stream';
import { freeBuffer } from '../../core/free-buffer.ts';

/** What a stream of our own brings. A piece is there until the next one is asked for. */
export async function* piecesOf(stream: Readable): AsyncGenerator<Uint8Array> {
  for await (const piece of stream as AsyncIterable<Buffer>) {
    yield piece;
    freeBuffer(piece);
  }
}
