import type { UploadRecords } from '../core/upload-records.ts';
import { attemptRows } from './attempt-rows.ts';
import { claimRows } from './claim-rows.ts';
import type { Connection } from './connection.ts';
import { nameRows } from './name-rows.ts';
import type { News } from './news.ts';
import { partRows } from './part-rows.ts';
import { rangeRows } from './range-rows.ts';
import { reaperRows } from './reaper-rows.ts';
import { uploadRows } from './upload-rows.ts';
import { workRows } from './work-rows.ts';

/** The records in Postgres. */
export function createRecords(connection: Connection, news: Pick<News, 'onNews'>): UploadRecords {
  return {
    check: () => connection.run(async (db) => void (await db.execute('select 1'))),
    onNews: (listener) => news.onNews(listener),
    ...uploadRows(connection),
    ...attemptRows(connection),
    ...partRows(connection),
    ...claimRows(connection),
    ...reaperRows(connection),
    ...rangeRows(connection),
    ...workRows(connection),
    ...nameRows(connection),
  };
}
