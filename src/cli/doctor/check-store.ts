import { existsSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import type { Settings } from '../../config.ts';
import type { ExitCode } from '../exit-codes.ts';
import { clockAheadMs, judgeClock } from './clock.ts';
import { checkConnection, deadlineMs, messageOf } from './connect.ts';
import { judgeLifecycle } from './lifecycle.ts';
import { checkRoundTrip } from './round-trip.ts';
import { Section } from './section.ts';

const GiB = 1024 ** 3;

/** The store, used as a gateway uses it. */
export async function checkStore(settings: Settings): Promise<Section> {
  const section = new Section('store');
  if (settings.S3_BUCKET === undefined && !(await describeDisk(section, settings))) return section;
  if (settings.S3_ENDPOINT !== undefined && !(await checkConnection(section, new URL(settings.S3_ENDPOINT)))) {
    return section;
  }
  const { createStore, defaultBucketOf } = await import('../../create-store.ts');
  const store = createStore(settings);
  const bucket = defaultBucketOf(settings);
  try {
    for (const each of [bucket, ...settings.PARTWAY_BUCKETS]) {
      await store.check(each, { signal: AbortSignal.timeout(deadlineMs) });
      section.ok('bucket', `${store.description}: bucket ${each} is there`, { bucket: each });
    }
    const survey = settings.S3_BUCKET === undefined ? undefined : await surveyOf(section, settings);
    await checkRoundTrip(section, store, { bucket, stagingPrefix: settings.PARTWAY_STAGING_PREFIX });
    if (survey !== undefined) judgeLifecycle(section, survey.lifecycle, settings, store.keepsUnfinishedMs());
  } catch (error) {
    section.fault('call', exitCodeOf(error), error instanceof Error ? describe(error) : String(error));
  } finally {
    await store.close();
  }
  return section;
}

/** @returns whether there is a store to look at */
async function describeDisk(section: Section, settings: Settings): Promise<boolean> {
  const { diskRootOf } = await import('../../create-store.ts');
  const root = diskRootOf(settings);
  if (!existsSync(root)) {
    section.note('disk', `S3_BUCKET is not set, and no gateway has run yet: its first start keeps objects in ${root}`);
    return false;
  }
  const { bavail, bsize } = await statfs(root);
  const freeGiB = Number(((bavail * bsize) / GiB).toPrecision(3));
  section.note('disk', `S3_BUCKET is not set: objects are files in ${root}, with ${freeGiB} GiB free`, {
    root,
    freeGiB,
  });
  return true;
}

async function surveyOf(section: Section, settings: Settings) {
  const { surveyStore } = await import('../../create-store.ts');
  const survey = await surveyStore(settings, AbortSignal.timeout(2 * deadlineMs));
  const { server, date } = survey;
  section.note('server', server === undefined ? 'it does not say what it is' : `it calls itself ${server}`, { server });
  judgeClock(section, 'the store', date && clockAheadMs(date.text, date.askedAt, date.answeredAt));
  return survey;
}

function describe(error: Error): string {
  if (!('kind' in error)) return messageOf(error);
  return isUnauthorized(error)
    ? `${error.message} (are access key, secret and their permissions right?)`
    : error.message;
}

function exitCodeOf(error: unknown): ExitCode {
  if (!(error instanceof Error)) return 1;
  if (error.name === 'TimeoutError') return 5;
  if (!('kind' in error)) return 1;
  if (error.kind === 'unavailable' || error.kind === 'full') return 5;
  return isUnauthorized(error) ? 6 : 2;
}

/** S3 answers HEAD without a body, so the status tells more often than a code. */
function isUnauthorized({ cause }: Error): boolean {
  const { name, $metadata: answer } = (cause ?? {}) as { name?: string; $metadata?: { httpStatusCode?: number } };
  const status = answer?.httpStatusCode;
  return status === 401 || status === 403 || name === 'CredentialsProviderError';
}
