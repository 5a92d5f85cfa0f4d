import type { Readable } from 'node:stream';

/**
 * As `source.pipe(destination)`, and tells of each buffer once the destination needs it no longer. Not after a failure:
 * the kernel may still be reading from it then.
 */
export function pipeAndTell<T extends NodeJS.WritableStream>(
  source: Readable,
  destination: T,
  options: { readonly end?: boolean; readonly onSent: (chunk: Buffer) => void },
): T {
  const write = (chunk: Buffer) => {
    const goesOn = destination.write(chunk, (error) => {
      if (!error) options.onSent(chunk);
    });
    if (!goesOn) source.pause();
  };
  const resume = () => source.resume();
  const end = () => destination.end();
  source.on('data', write);
  destination.on('drain', resume);
  if (options.end !== false) source.once('end', end);
  destination.once('close', () => {
    source.off('data', write);
    source.off('end', end);
    destination.off('drain', resume);
  });
  destination.emit('pipe', source);
  source.resume();
  return destination;
}
