import type { Readable, Writable } from 'node:stream';

/** Bytes that the destination has not taken yet, at most. */
export const waitingBytes = 512 * 1024;

/**
 * As `source.pipe(destination)`, and tells of each buffer once the destination needs it no longer. Not after a failure:
 * the kernel may still be reading from it then. All that comes in one turn of the event loop goes out in one call to the
 * socket: this costs half of one for each buffer.
 */
export function pipeAndTell<T extends NodeJS.WritableStream>(
  source: Readable,
  destination: T,
  options: { readonly onSent: (chunk: Buffer) => void },
): T {
  const corkable = destination as NodeJS.WritableStream as Writable;
  let waiting = 0;
  let isCorked = false;
  const uncork = () => {
    isCorked = false;
    corkable.uncork();
  };
  const write = (chunk: Buffer) => {
    if (!isCorked) {
      isCorked = true;
      corkable.cork();
      setImmediate(uncork);
    }
    waiting += chunk.length;
    if (waiting > waitingBytes) source.pause();
    destination.write(chunk, (error) => {
      if (error) return;
      waiting -= chunk.length;
      options.onSent(chunk);
      if (waiting <= waitingBytes) source.resume();
    });
  };
  const end = () => destination.end();
  source.on('data', write);
  source.once('end', end);
  destination.once('close', () => {
    source.off('data', write);
    source.off('end', end);
  });
  destination.emit('pipe', source);
  source.resume();
  return destination;
}
