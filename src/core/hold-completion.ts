import type { Readable } from 'node:stream';
import type { Deps } from './deps.ts';

/** The threads of a client start all at once: within so long its first chunk is here, or on its way. */
const holdMs = 2_000;

/**
 * Before bytes are added to an upload that was left alone for long: it does not complete by itself for a moment. Nothing
 * but its first chunk tells another file of the same name and size, and that may come after those which fill the upload.
 */
export async function holdCompletion({ records }: Deps, uploadId: string): Promise<void> {
  await records.holdCompletion({ uploadId, forMs: holdMs });
}

/** As `holdCompletion`, also for as long as the first chunk takes to come. */
export async function holdWhileComing<T>(
  deps: Deps,
  uploadId: string,
  body: () => Readable,
  work: (body: () => Readable) => Promise<T>,
): Promise<T> {
  await holdCompletion(deps, uploadId);
  const stopHolding = deps.clock.every(holdMs / 4, () => void holdCompletion(deps, uploadId).catch(() => undefined));
  try {
    return await work(() => body().once('end', stopHolding).once('close', stopHolding));
  } finally {
    stopHolding();
  }
}
