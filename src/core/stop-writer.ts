import type { Deps } from './deps.ts';
import type { LiveAttempt } from './live-attempts.ts';
import { displaceAfterMs } from './range-write.ts';
import type { Upload } from './upload.ts';

const pollMs = 50;

/**
 * Ends the writer of an append upload, here or on another replica: what it has brought is kept, and afterwards nothing moves
 * the offset but a newer one.
 * @param newer who wants to write in its place, where it has been announced
 * @returns the upload as it is then
 */
export async function stopWriter(deps: Deps, upload: Upload, newer?: LiveAttempt): Promise<Upload> {
  const { id, tenant, writerId } = upload;
  const here = deps.attempts.writersOf(id, newer);
  if (upload.state !== 'open' || (writerId === undefined && here.length === 0)) return upload;
  const look = async () => (await deps.records.find(tenant, id)) ?? upload;
  const tooLate = new AbortController();
  const wait = deps.clock.sleep(displaceAfterMs, tooLate.signal).catch(() => undefined);
  try {
    for (const writer of here) writer.yield();
    await Promise.race([Promise.all(here.map(({ ended }) => ended)), wait]);
    if (writerId !== undefined && !here.some(({ attemptId }) => attemptId === writerId)) {
      await deps.records.askWriterToYield(writerId);
      const giveUpAt = deps.clock.now().getTime() + displaceAfterMs;
      for (let now = await look(); now.writerId === writerId; now = await look()) {
        if ((await deps.records.endDeadLeases(id)) || deps.clock.now().getTime() > giveUpAt) break;
        await deps.clock.sleep(pollMs, deps.halted);
      }
    }
  } finally {
    tooLate.abort();
  }
  const last = await look();
  const isLeft = last.writerId === writerId || here.some(({ attemptId }) => attemptId === last.writerId);
  if (last.writerId === undefined || !isLeft) return last;
  await deps.records.endWriter({ uploadId: id, writerId: last.writerId });
  return look();
}
