import type { StoreLimits } from '../../src/core/object-store.ts';

const mebibyte = 1024 ** 2;

/** What MinIO, RGW and AWS have in common. */
export const contractLimits: StoreLimits = {
  minPartSizeBytes: 5 * mebibyte,
  maxPartSizeBytes: 5 * 1024 * mebibyte,
  maxParts: 10_000,
  maxObjectSizeBytes: 5 * 1024 ** 2 * mebibyte,
  equalParts: false,
};
