import { createHash } from 'node:crypto';
import { Crc64Nvme } from '@aws-sdk/checksums/crc';
import { crc32, crc32c } from '@node-rs/crc32';
import { joinCrcs, polynomials } from './crc-arithmetic.ts';

/** Hashes by their names in RFC 9530's registry, `sha-1` and the CRCs by the names that S3 and tus use. */
export const digestAlgorithms = ['md5', 'sha-1', 'sha-256', 'sha-512', 'crc32', 'crc32c', 'crc64nvme'] as const;
export type DigestAlgorithm = (typeof digestAlgorithms)[number];

/** Digests by algorithm, base64. */
export type Digests = Readonly<Partial<Record<DigestAlgorithm, string>>>;

/** The algorithms whose value for the whole is combined from the values of its parts. */
export const combinableAlgorithms = ['crc32', 'crc32c'] as const satisfies readonly DigestAlgorithm[];
export type CombinableAlgorithm = (typeof combinableAlgorithms)[number];

/** The length of a digest in bytes. */
export const digestLengths: Readonly<Record<DigestAlgorithm, number>> = {
  md5: 16,
  'sha-1': 20,
  'sha-256': 32,
  'sha-512': 64,
  crc32: 4,
  crc32c: 4,
  crc64nvme: 8,
};

/** A digest that grows with the bytes it is shown. */
export interface RunningDigest {
  readonly algorithm: DigestAlgorithm;
  update(chunk: Buffer): void;
  /** The value in base64. Call once. */
  finish(): Promise<string>;
}

export function startDigest(algorithm: DigestAlgorithm): RunningDigest {
  switch (algorithm) {
    case 'md5':
    case 'sha-1':
    case 'sha-256':
    case 'sha-512':
      return startHash(algorithm);
    case 'crc32':
      return startCrc32(algorithm, (chunk, value) => crc32(chunk, value));
    case 'crc32c':
      return startCrc32(algorithm, (chunk, value) => crc32c(chunk, value));
    case 'crc64nvme': {
      const checksum = new Crc64Nvme();
      return {
        algorithm,
        update: (chunk) => checksum.update(chunk),
        finish: async () => Buffer.from(await checksum.digest()).toString('base64'),
      };
    }
  }
}

function startHash(algorithm: 'md5' | 'sha-1' | 'sha-256' | 'sha-512'): RunningDigest {
  const hash = createHash(algorithm.replace('sha-', 'sha'));
  return {
    algorithm,
    update: (chunk) => {
      hash.update(chunk);
    },
    finish: async () => hash.digest('base64'),
  };
}

function startCrc32(algorithm: CombinableAlgorithm, next: (chunk: Buffer, value: number) => number): RunningDigest {
  let value = 0;
  return {
    algorithm,
    update: (chunk) => {
      value = next(chunk, value);
    },
    finish: async () => encodeCrc32(value),
  };
}

function encodeCrc32(value: number): string {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes.toString('base64');
}

export function isCombinable(algorithm: DigestAlgorithm): algorithm is CombinableAlgorithm {
  return combinableAlgorithms.some((combinable) => combinable === algorithm);
}

/**
 * The CRC of the pieces' concatenation, from the CRC and length of each, without their bytes.
 * @returns base64
 */
export function combineCrcs(
  algorithm: CombinableAlgorithm,
  pieces: Iterable<{ readonly crc: string; readonly sizeBytes: number }>,
): string {
  const values = Array.from(pieces, ({ crc, sizeBytes }) => ({
    value: Buffer.from(crc, 'base64').readUInt32BE(),
    sizeBytes,
  }));
  return encodeCrc32(joinCrcs(polynomials[algorithm], values));
}
