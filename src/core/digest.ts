import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { Crc64Nvme } from '@aws-sdk/checksums/crc';
import { crc32c } from '@node-rs/crc32';

/** Algorithms by the names of RFC 9530's registry where it has one; CRCs as S3 calls them. */
export const digestAlgorithms = ['md5', 'sha-1', 'sha-256', 'sha-512', 'crc32', 'crc32c', 'crc64nvme'] as const;
export type DigestAlgorithm = (typeof digestAlgorithms)[number];

/** Digests by algorithm, base64. */
export type Digests = Readonly<Partial<Record<DigestAlgorithm, string>>>;

/** A digest that grows with the bytes it is shown. */
export interface RunningDigest {
  readonly algorithm: DigestAlgorithm;
  update(chunk: Uint8Array): void;
  /** The value in base64. Call once. */
  finish(): Promise<string>;
}
