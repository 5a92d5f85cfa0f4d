import { createHash } from 'node:crypto';
import { readSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';
import { crc32 } from 'node:zlib';
import type { HashOrder, HashReply } from './hash-thread.ts';

const piece = Buffer.allocUnsafeSlow(512 * 1024);

parentPort?.on('message', ({ id, algorithm, descriptor, offset, sizeBytes }: HashOrder) => {
  let reply: HashReply;
  try {
    reply = {
      id,
      digest: algorithm === 'md5' ? md5(descriptor, offset, sizeBytes) : crc(descriptor, offset, sizeBytes),
    };
  } catch (error) {
    reply = { id, error };
  }
  parentPort?.postMessage(reply);
});

function md5(descriptor: number, offset: number, sizeBytes: number): Uint8Array {
  const hash = createHash('md5');
  for (const bytes of pieces(descriptor, offset, sizeBytes)) hash.update(bytes);
  return hash.digest();
}

function crc(descriptor: number, offset: number, sizeBytes: number): Uint8Array {
  let value = 0;
  for (const bytes of pieces(descriptor, offset, sizeBytes)) value = crc32(bytes, value);
  return Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value);
}

function* pieces(descriptor: number, offset: number, sizeBytes: number): Generator<Buffer> {
  const end = offset + sizeBytes;
  for (let at = offset; at < end; ) {
    const length = readSync(descriptor, piece, 0, Math.min(piece.length, end - at), at);
    if (length === 0) throw new Error('the file has become shorter');
    yield piece.subarray(0, length);
    at += length;
  }
}
