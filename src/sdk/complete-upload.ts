import type { UploadJson } from './contract.ts';
import { IntegrityError, isRefusedError } from './errors.ts';
import { formatCrc32, joinCrc32s } from './hashes.ts';
import type { Transfer } from './transfer.ts';

/**
 * The completed upload; `undefined` where bytes turn out to be missing.
 * @param input.digest of the whole, where it passed the gateway, which compares
 * @throws IntegrityError where the gateway has other bytes
 */
export async function completeUpload(
  transfer: Transfer,
  input: { readonly sizeBytes: number; readonly digest: string | undefined },
): Promise<UploadJson | undefined> {
  const { client, upload, patience, signal, progress } = transfer;
  progress.enter('completing');
  const body = { size: input.sizeBytes, ...(input.digest !== undefined && { digest: input.digest }) };
  try {
    return await patience.retry(() => client.complete(upload.id, body, { signal }));
  } catch (error) {
    if (isRefusedError(error) && error.code === 'incomplete') return undefined;
    throw error;
  }
}

/** The CRC-32 of the whole, where every byte's is known. */
export function wholeDigest(transfer: Transfer, sizeBytes: number): string | undefined {
  const pieces = [...transfer.crcs].sort(([a], [b]) => a - b);
  let end = 0;
  for (const [offset, piece] of pieces) {
    if (offset !== end) return undefined;
    end += piece.sizeBytes;
  }
  return end === sizeBytes ? formatCrc32(joinCrc32s(pieces.map(([, piece]) => piece))) : undefined;
}

/** @throws IntegrityError */
export function requireDigest(expected: string | undefined, actual: string | undefined): void {
  if (expected === undefined || actual === undefined || expected === actual) return;
  throw new IntegrityError(`The source has ${actual}, not ${expected}. Nothing was completed.`);
}
