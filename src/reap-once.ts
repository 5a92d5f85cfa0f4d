import type { UploadErrorCode } from './core/errors.ts';
import type { UploadEvent } from './core/ports.ts';
import type { AbortReason } from './core/upload.ts';
import type { UploadRecords } from './core/upload-records.ts';
import { createCore } from './create-core.ts';
import { createStore } from './create-store.ts';
import { News } from './db/news.ts';
import { createRecords } from './db/records.ts';
import type { OpenRecords } from './open-records.ts';
import { Reaper } from './reaper/reaper.ts';

export interface Reaped {
  uploadsClosed: number;
  uploadsCompleted: number;
  uploadsExpired: number;
  uploadsAborted: number;
  uploadsLost: number;
  uploadsForgotten: number;
  partsComposed: number;
  fragmentsRetired: number;
  fragmentsDeleted: number;
}

export interface ReapFailure {
  readonly uploadId: string | undefined;
  /** `undefined`: a bug. */
  readonly code: UploadErrorCode | undefined;
  readonly message: string;
}

/** The reaper's rounds until nothing more comes of them, for a process that has nothing else to do. */
export async function reapOnce(
  opened: OpenRecords,
): Promise<{ readonly reaped: Reaped; readonly failures: readonly ReapFailure[] }> {
  const { connection, settings, url } = opened;
  await using started = new AsyncDisposableStack();
  const news = new News(url);
  started.defer(() => news.stop());
  await news.start();
  const store = createStore(settings);
  started.defer(() => store.close());

  const reaped = nothing();
  let endedWork = 0;
  const records = counting(createRecords(connection, news), reaped, () => {
    endedWork += 1;
  });
  const core = createCore(settings, {
    records,
    store,
    events: { emit: (event) => count(reaped, event) },
    newLeaseId: () => news.newLeaseId(),
    halted: new AbortController().signal,
  });
  const failures = new Map<string, ReapFailure>();
  const fail = (failure: ReapFailure) => failures.set(`${failure.uploadId} ${failure.message}`, failure);
  const reaper = new Reaper(core, {
    onFault: ({ code, message }, upload) => fail({ uploadId: upload?.id, code, message }),
    onBug: (error, upload) => fail({ uploadId: upload?.id, code: undefined, message: String(error) }),
  });
  const progress = () => Object.values(reaped).reduce((sum, each) => sum + each, endedWork);
  // Work that fails is due again at once: who made no progress stops.
  for (let before = -1; progress() > before; ) {
    before = progress();
    await reaper.guardedRound();
    await core.joins.whenIdle();
  }
  await core.compositions.whenIdle();
  return { reaped, failures: [...failures.values()] };
}

function nothing(): Reaped {
  return {
    ...{ uploadsClosed: 0, uploadsCompleted: 0, uploadsExpired: 0, uploadsAborted: 0, uploadsLost: 0 },
    ...{ uploadsForgotten: 0, partsComposed: 0, fragmentsRetired: 0, fragmentsDeleted: 0 },
  };
}

function counting(records: UploadRecords, reaped: Reaped, onWorkEnded: () => void): UploadRecords {
  return {
    ...records,
    closeUncreated: async (id) => {
      await records.closeUncreated(id);
      reaped.uploadsClosed += 1;
    },
    deleteOutdated: async (limit) => {
      const deleted = await records.deleteOutdated(limit);
      reaped.uploadsForgotten += deleted;
      return deleted;
    },
    retireAbandoned: async (limit) => {
      const retired = await records.retireAbandoned(limit);
      reaped.fragmentsRetired += retired;
      return retired;
    },
    forgetFragments: async (ids) => {
      await records.forgetFragments(ids);
      reaped.fragmentsDeleted += ids.length;
    },
    endWork: async (upload) => {
      await records.endWork(upload);
      onWorkEnded();
    },
  };
}

const byReason: Partial<Record<AbortReason, 'uploadsExpired' | 'uploadsLost'>> = {
  expired: 'uploadsExpired',
  lost: 'uploadsLost',
};

function count(reaped: Reaped, event: UploadEvent): void {
  if (event.type === 'upload_completed') reaped.uploadsCompleted += 1;
  else if (event.type === 'part_stored') reaped.partsComposed += 1;
  else if (event.type === 'upload_aborted') {
    reaped[(event.upload.reason && byReason[event.upload.reason]) ?? 'uploadsAborted'] += 1;
  }
}
