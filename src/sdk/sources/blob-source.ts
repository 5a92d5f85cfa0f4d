import { SourceError } from '../errors.ts';
import { formatDigest } from '../hashes.ts';
import type { RequestBody } from '../transport/transport.ts';
import type { SeekableSource } from './source.ts';

/** A Blob or File. A browser refuses to read a File that was changed after it was chosen. */
export function blobSource(blob: Blob): SeekableSource {
  const { name, lastModified } = blob as Partial<File>;

  function range(offset: number, sizeBytes: number): RequestBody {
    const slice = blob.slice(offset, offset + sizeBytes);
    return {
      sizeBytes,
      blob: slice,
      async *pieces() {
        try {
          yield* piecesOf(slice);
        } catch (error) {
          throw new SourceError('The file can no longer be read: it has changed, or is gone.', {
            code: 'source_changed',
            cause: error,
          });
        }
      },
    };
  }

  return {
    kind: 'seekable',
    name,
    sizeBytes: blob.size,
    // A Blob that is no File has nothing but its content.
    identity: async ({ crc32 }) =>
      `${blob.size} ${lastModified ?? formatDigest('crc32', await crc32(range(0, blob.size)))}`,
    place: `blob ${name ?? ''}`,
    range,
    requireUnchanged: async () => {},
    close: async () => {},
  };
}

/** By a reader: not every browser's streams can be iterated. */
async function* piecesOf(blob: Blob): AsyncGenerator<Uint8Array> {
  const reader = blob.stream().getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}
