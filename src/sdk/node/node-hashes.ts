import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import type { Hashes } from '../hashes.ts';
import { isFileBody } from './file-source.ts';
import { hashRange } from './hash-thread.ts';

/** Below this a thread of its own costs more than it saves. */
const smallBytes = 1024 * 1024;

export const nodeHashes: Hashes = {
  async crc32(body) {
    if (isFileBody(body) && body.sizeBytes > smallBytes)
      return body.hash((file) => hashRange({ ...file, algorithm: 'crc32' }));
    let value = 0;
    for await (const piece of body.pieces()) value = crc32(piece, value);
    return Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value);
  },
  async md5(body) {
    if (isFileBody(body) && body.sizeBytes > smallBytes)
      return body.hash((file) => hashRange({ ...file, algorithm: 'md5' }));
    const hash = createHash('md5');
    for await (const piece of body.pieces()) hash.update(piece);
    return hash.digest();
  },
};
