import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import type { Hashes } from '../hashes.ts';

export const nodeHashes: Hashes = {
  async crc32(pieces) {
    let value = 0;
    for await (const piece of pieces) value = crc32(piece, value);
    return Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value);
  },
  async md5(pieces) {
    const hash = createHash('md5');
    for await (const piece of pieces) hash.update(piece);
    return hash.digest();
  },
};
