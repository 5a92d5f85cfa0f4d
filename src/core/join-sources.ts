import { abortUpload } from './abort.ts';
import { completeWhole } from './complete-whole.ts';
import { type JoinedPart, planConcatenation } from './concatenation-plan.ts';
import type { Deps } from './deps.ts';
import { UploadError } from './errors.ts';
import { goneError, notOpen } from './find.ts';
import { joinPart } from './join-part.ts';
import { requireSize } from './limits.ts';
import { partsOf } from './parts-of.ts';
import { ownerOf } from './principal.ts';
import type { Upload } from './upload.ts';

/** How many parts of one upload are made at once. */
const partsAtOnce = 4;

/**
 * Makes the parts of an upload out of its sources, those that it has not yet, and completes it; while a source is not
 * completed that waits, and the last one's completion has the reaper go on. Whoever dies in between leaves it to the reaper,
 * too. One whose sources are gone is aborted.
 * @throws UploadError
 */
export function joinSources(deps: Deps, upload: Upload): Promise<void> {
  return deps.joins.run(upload.id, () => join(deps, upload));
}

async function join(deps: Deps, upload: Upload): Promise<void> {
  const postpone = () => deps.records.postponeWork({ uploadId: upload.id, forMs: 3 * deps.settings.leaseMs });
  const stopPostponing = deps.renewals.add(() => void postpone().catch(() => undefined));
  try {
    await postpone();
    const sources = await sourcesOf(deps, upload);
    const sizeBytes = sizeOfJoined(deps, sources);
    if (sizeBytes !== undefined && upload.sizeBytes === undefined) await tellSize(deps, upload, sizeBytes);
    if (sources.every(({ state }) => state === 'completed')) {
      await makeParts(deps, upload, sources);
      await completeWhole(deps, { principal: ownerOf(upload), upload });
    } else {
      stopPostponing();
      await deps.records.awaitSources(upload.id);
    }
  } catch (error) {
    if (error instanceof UploadError && isForGood(error)) {
      await abortUpload(deps, ownerOf(upload), upload.id, 'not_joined');
    }
    throw error;
  } finally {
    stopPostponing();
    // Another replica need not wait for a process that stops.
    if (deps.halted.aborted) await deps.records.postponeWork({ uploadId: upload.id, forMs: 0 }).catch(() => undefined);
  }
}

/** @throws UploadError `upload_gone` */
export async function sourcesOf({ records }: Pick<Deps, 'records'>, upload: Upload): Promise<readonly Upload[]> {
  const { tenant, sources = [] } = upload;
  const found = new Map<string, Upload>();
  for (const id of new Set(sources)) {
    const source = await records.find(tenant, id);
    if (source === undefined) throw goneError('expired');
    found.set(id, source);
  }
  return sources.flatMap((id) => found.get(id) ?? []);
}

/**
 * The size of what is put together of these; `undefined` while one's is not known.
 * @throws UploadError `upload_gone` where one has ended without an object, `limit_exceeded`
 */
export function sizeOfJoined({ store, settings }: Deps, sources: readonly Upload[]): number | undefined {
  const ended = sources.find(({ state }) => state === 'aborting' || state === 'aborted' || state === 'deleted');
  if (ended !== undefined) throw notOpen(ended);
  const sizes = sources.flatMap(({ sizeBytes }) => sizeBytes ?? []);
  const sizeBytes = sizes.reduce((sum, size) => sum + size, 0);
  requireSize(sizeBytes, settings);
  if (sizes.length < sources.length) return undefined;
  const { maxParts } = store.limits;
  if (planConcatenation(sizes, store.limits).length <= maxParts) return sizeBytes;
  throw new UploadError('limit_exceeded', `They would be more than ${maxParts} parts.`, {
    details: { limit: maxParts },
  });
}

async function tellSize(deps: Deps, { id }: Upload, sizeBytes: number): Promise<void> {
  const { upload } = await deps.records.tellSize(id, sizeBytes);
  if (upload !== undefined && upload.state !== 'open' && upload.state !== 'completing') throw notOpen(upload);
}

async function makeParts(deps: Deps, upload: Upload, sources: readonly Upload[]): Promise<void> {
  const stored = new Map((await partsOf(deps, upload.id)).map((part) => [part.partNumber, part]));
  const isMissing = ({ partNumber, offset, sizeBytes }: JoinedPart) => {
    const part = stored.get(partNumber);
    return part?.offset !== offset || part.sizeBytes !== sizeBytes;
  };
  const sizes = sources.flatMap(({ sizeBytes }) => sizeBytes ?? []);
  const missing = planConcatenation(sizes, deps.store.limits).filter(isMissing);
  await eachOf(missing, partsAtOnce, (part) =>
    deps.joins.part(async () => {
      deps.halted.throwIfAborted();
      await joinPart(deps, { upload, sources, part });
    }),
  );
}

/** Works on so many items at a time. The first failure is thrown once all that began have ended. */
async function eachOf<T>(items: readonly T[], atOnce: number, work: (item: T) => Promise<void>): Promise<void> {
  const queue = items.values();
  let hasFailed = false;
  const worker = async () => {
    for (const item of queue) {
      if (hasFailed) return;
      try {
        await work(item);
      } catch (error) {
        hasFailed = true;
        throw error;
      }
    }
  };
  const ends = await Promise.allSettled(Array.from({ length: atOnce }, worker));
  for (const end of ends) if (end.status === 'rejected') throw end.reason;
}

/** Another try would meet the same. */
export function isForGood({ code }: UploadError): boolean {
  return code === 'upload_gone' || code === 'precondition_failed' || code === 'limit_exceeded';
}
