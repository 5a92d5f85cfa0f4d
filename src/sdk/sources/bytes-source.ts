import { formatDigest } from '../hashes.ts';
import type { SeekableSource } from './source.ts';

const pieceBytes = 256 * 1024;

/** Bytes in memory. They must stay as they are. */
export function bytesSource(bytes: Uint8Array): SeekableSource {
  return {
    kind: 'seekable',
    name: undefined,
    sizeBytes: bytes.length,
    identity: async ({ crc32 }) => `bytes ${bytes.length} ${formatDigest('crc32', await crc32(bodyOf(bytes)))}`,
    place: 'bytes',
    range: (offset, sizeBytes) => bodyOf(bytes.subarray(offset, offset + sizeBytes)),
    requireUnchanged: async () => {},
    close: async () => {},
  };
}

export function bodyOf(bytes: Uint8Array): { sizeBytes: number; pieces(): AsyncIterable<Uint8Array> } {
  return {
    sizeBytes: bytes.length,
    async *pieces() {
      for (let offset = 0; offset < bytes.length; offset += pieceBytes) {
        yield bytes.subarray(offset, offset + pieceBytes);
      }
    },
  };
}
