import type { Deps } from './deps.ts';
import { displaceAfterMs } from './range-write.ts';
import type { Upload } from './upload.ts';

const pollMs = 50;

/**
 * Ends the writer of an append upload, here or on another replica: what it has brought is kept, and afterwards nothing moves
 * the offset but a newer one.
 * @returns the upload as it is then
 */
export async function stopWriter(deps: Deps, upload: Upload): Promise<Upload> {
  const { id, tenant, writerId } = upload;
  if (upload.state !== 'open' || writerId === undefined) return upload;
  const look = async () => (await deps.records.find(tenant, id)) ?? upload;
  const tooLate = new AbortController();
  const wait = deps.clock.sleep(displaceAfterMs, tooLate.signal).catch(() => undefined);
  const here = deps.attempts.find(writerId);
  try {
    if (here !== undefined) {
      here.yield();
      await Promise.race([here.ended, wait]);
    } else {
      await deps.records.askWriterToYield(writerId);
      const giveUpAt = deps.clock.now().getTime() + displaceAfterMs;
      for (let now = await look(); now.writerId === writerId; now = await look()) {
        if ((await deps.records.endDeadLeases(id)) || deps.clock.now().getTime() > giveUpAt) break;
        await deps.clock.sleep(pollMs);
      }
    }
  } finally {
    tooLate.abort();
  }
  await deps.records.endWriter({ uploadId: id, writerId });
  return look();
}
