import { createCRC32, createMD5 } from 'hash-wasm';
import { joinCrcs, polynomials } from '../core/crc-arithmetic.ts';
import type { RequestBody } from './transport/transport.ts';

/** The bytes of the body's digest. */
export type Hash = (body: RequestBody) => Promise<Uint8Array>;

export interface Hashes {
  readonly crc32: Hash;
  readonly md5: Hash;
}

/** In WebAssembly: for browsers and workers. */
export const wasmHashes: Hashes = {
  crc32: async (body) => hashPieces(await createCRC32(), body.pieces()),
  md5: async (body) => hashPieces(await createMD5(), body.pieces()),
};

async function hashPieces(
  hash: { init(): unknown; update(piece: Uint8Array): unknown; digest(format: 'binary'): Uint8Array },
  pieces: AsyncIterable<Uint8Array>,
): Promise<Uint8Array> {
  hash.init();
  for await (const piece of pieces) hash.update(piece);
  return hash.digest('binary');
}

export function crc32Of(digest: Uint8Array): number {
  return new DataView(digest.buffer, digest.byteOffset, 4).getUint32(0);
}

/** RFC 9530, section 2. */
export function formatCrc32(crc: number): string {
  return formatDigest('crc32', Uint8Array.of(crc >>> 24, crc >>> 16, crc >>> 8, crc));
}

export function formatDigest(algorithm: 'crc32' | 'md5', digest: Uint8Array): string {
  return `${algorithm}=:${btoa(String.fromCharCode(...digest))}:`;
}

/** The CRC-32 within a field value of RFC 9530. */
export function parseCrc32(field: string | undefined): number | undefined {
  const [, base64] = field?.match(/(?:^|[\s,])crc32=:([A-Za-z0-9+/]{6}==):/) ?? [];
  if (base64 === undefined) return undefined;
  return crc32Of(Uint8Array.from(atob(base64), (char) => char.charCodeAt(0)));
}

/** Of the whole, from those of its parts in their order. */
export function joinCrc32s(parts: Iterable<{ readonly value: number; readonly sizeBytes: number }>): number {
  return joinCrcs(polynomials.crc32, parts);
}
