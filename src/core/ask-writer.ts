import type { Deps } from './deps.ts';
import type { Upload } from './upload.ts';

/** So long whoever asks where to go on waits for a writer that is at work. */
const longestWaitMs = 1_000;

/**
 * For those who ask how far an append upload has come: a writer that is at work, here or on another replica, makes durable
 * what it has taken, and goes on. So nothing is sent twice that is here already.
 * @returns the upload as it is then
 */
export async function askWriter(deps: Deps, upload: Upload): Promise<Upload> {
  const { writerId } = upload;
  if (upload.state !== 'open' || writerId === undefined) return upload;
  const tooLate = new AbortController();
  const wait = deps.clock.sleep(longestWaitMs, tooLate.signal).catch(() => undefined);
  try {
    const here = deps.attempts.find(writerId);
    if (here !== undefined) await Promise.race([here.checkpoint.request(), here.ended, wait]);
    else {
      // Listened for before it is asked: the news may be here before the answer.
      const reached = deps.attempts.whenReached(writerId);
      if (await deps.records.askWriterToCheckpoint(writerId)) await Promise.race([reached, wait]);
    }
  } finally {
    tooLate.abort();
    deps.attempts.reached(writerId);
  }
  return (await deps.records.find(upload.tenant, upload.id)) ?? upload;
}
