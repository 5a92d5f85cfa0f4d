import { join, resolve } from 'node:path';
import type { Settings } from './config.ts';
import type { ObjectStore, StoreLimits } from './core/object-store.ts';
import { createDiskStore } from './stores/disk/disk-store.ts';
import type { S3Connection } from './stores/s3/clients.ts';
import { createS3Store } from './stores/s3/s3-store.ts';
import { type S3Survey, surveyS3 } from './stores/s3/survey.ts';

const MiB = 1024 ** 2;
const GiB = 1024 ** 3;

export function createStore(settings: Settings): ObjectStore {
  const limits: StoreLimits = {
    minPartSizeBytes: 5 * MiB,
    maxPartSizeBytes: 5 * GiB,
    maxParts: 10_000,
    maxObjectSizeBytes: 50_000 * GiB,
    equalParts: settings.S3_EQUAL_PARTS,
  };
  if (settings.S3_BUCKET === undefined) return createDiskStore({ root: diskRootOf(settings), limits });
  return createS3Store({ ...s3ConnectionOf(settings), limits });
}

/** What a store on S3 tells of itself, for an operator. @throws StoreError */
export function surveyStore(settings: Settings, signal: AbortSignal): Promise<S3Survey> {
  return surveyS3(s3ConnectionOf(settings), defaultBucketOf(settings), signal);
}

export function defaultBucketOf(settings: Settings): string {
  return settings.S3_BUCKET ?? 'default';
}

export function diskRootOf(settings: Settings): string {
  return join(resolve(settings.PARTWAY_DATA_DIR), 'store');
}

function s3ConnectionOf(settings: Settings): S3Connection {
  return {
    endpoint: settings.S3_ENDPOINT,
    region: settings.S3_REGION,
    accessKeyId: settings.S3_ACCESS_KEY_ID,
    secretAccessKey: settings.S3_SECRET_ACCESS_KEY,
    forcePathStyle: settings.S3_FORCE_PATH_STYLE ?? settings.S3_ENDPOINT !== undefined,
  };
}
