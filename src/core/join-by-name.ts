import { createHash } from 'node:crypto';
import { completeUpload } from './complete.ts';
import { createUpload } from './create.ts';
import type { Deps } from './deps.ts';
import { UploadError } from './errors.ts';
import { goneError, notFoundError, notOpen } from './find.ts';
import { placeOf } from './limits.ts';
import type { Principal } from './principal.ts';
import type { Upload } from './upload.ts';

/** What a client that has no id knows of its upload. */
export interface UploadName {
  readonly principal: Principal;
  readonly bucket?: string | undefined;
  readonly key: string;
  /** The size of the whole; another one is another upload. `undefined`: not known yet, which fits any. */
  readonly totalBytes: number | undefined;
  /** SHA-256 of the session id, where the client sent one. */
  readonly sessionHash?: Buffer | undefined;
}

export interface JoinInput {
  readonly name: UploadName;
  /** Where the client's chunk begins: zero begins a file anew where none is open. */
  readonly offset: number;
  /** The chunk can be held against an upload that has completed a moment ago, and given to a new one where it differs. */
  readonly mayRepeat?: boolean | undefined;
  /** Called where an upload is opened: to know it, the body may have to be begun. */
  readonly contentType?: (() => Promise<string | undefined>) | undefined;
}

/** The threads of a client start all at once: how long they wait for the one that has the first chunk. */
const openerWaitMs = 5_000;
const firstPollMs = 50;
const slowestPollMs = 500;
/** Whose last answer was lost sends a chunk again within so long; what comes later begins the file anew. */
const repeatedWithinMs = 120_000;
/** More than one file's sizes and attempts within the retention time. */
const mostLookedAt = 100;

/**
 * The upload that a chunk belongs to: an open one is joined, else one is opened. A chunk from the middle of a file that
 * is no longer open is never begun anew: it gets the `completed` upload, to be compared with; so does one that `mayRepeat`
 * what has just been completed.
 * @throws UploadError `upload_gone` for the middle of a file whose upload ended without an object
 */
export async function joinByName(deps: Deps, input: JoinInput): Promise<Upload> {
  const began = deps.clock.now().getTime();
  let pollMs = firstPollMs;
  for (;;) {
    const { open, settling, ended } = await lookUp(deps, input.name);
    if (open !== undefined) return open;
    const mayOpen = settling === undefined && (ended === undefined || input.offset === 0);
    if (mayOpen) {
      if (input.mayRepeat && isJustCompleted(deps, ended)) return ended;
      const opened = await openNamed(deps, input, ended);
      if (opened !== undefined) return opened;
    }
    const waitedMs = deps.clock.now().getTime() - began;
    if (settling?.state === 'completing') await awaitCompletion(deps, input.name.principal, settling);
    else if (!mayOpen && settling === undefined && waitedMs >= openerWaitMs) return settledEnd(ended);
    else if (waitedMs >= openerWaitMs + deps.settings.leaseMs) throw stillOpeningError();
    else await deps.clock.sleep(pollMs, deps.halted);
    pollMs = Math.min(pollMs * 2, slowestPollMs);
  }
}

/**
 * The upload that a name means, without opening one: for those who only ask.
 * @throws UploadError `upload_not_found`, `upload_gone`
 */
export async function findByName(deps: Deps, name: UploadName): Promise<Upload> {
  const { open, settling, ended } = await lookUp(deps, name);
  const upload = open ?? settling ?? ended;
  if (upload === undefined) throw notFoundError();
  if (upload.state === 'creating') throw notOpen(upload);
  return upload.state === 'completing' || upload.state === 'open' ? upload : settledEnd(upload);
}

/** The upload that is open for a name, if there is one. */
export async function findOpen(deps: Deps, name: UploadName): Promise<Upload | undefined> {
  return (await lookUp(deps, name)).open;
}

/** The same text for the same upload. */
export function textOfName(deps: Deps, name: UploadName): string {
  const { bucket, storeKey } = placeOf({ bucket: name.bucket, key: name.key }, name.principal, deps.settings);
  const session = name.sessionHash?.toString('hex') ?? '';
  return JSON.stringify([name.principal.tenant, bucket, storeKey, name.totalBytes ?? '*', session]);
}

interface Matches {
  readonly open: Upload | undefined;
  /** It will be open, or completed, in a moment. */
  readonly settling: Upload | undefined;
  readonly ended: Upload | undefined;
}

async function lookUp(deps: Deps, name: UploadName): Promise<Matches> {
  const { bucket, storeKey } = placeOf({ bucket: name.bucket, key: name.key }, name.principal, deps.settings);
  const found = await deps.records.findByName({
    tenant: name.principal.tenant,
    bucket,
    storeKey,
    protocol: 'content-range',
    sessionHash: name.sessionHash,
    limit: mostLookedAt,
  });
  const matching = found.filter((upload) => isJoinable(upload) && fits(upload, name.totalBytes));
  const inState = (...states: Upload['state'][]) => matching.filter(({ state }) => states.includes(state));
  const open = inState('open');
  return {
    open: open.find(({ sizeBytes }) => sizeBytes === name.totalBytes) ?? open[0],
    settling: inState('creating', 'completing')[0],
    ended: inState('completed', 'aborting', 'aborted', 'deleted')[0],
  };
}

/** Whole objects in one request are nobody's to continue by name, and a creation that failed never was an upload. */
function isJoinable(upload: Upload): boolean {
  return upload.front.whole !== true && upload.reason !== 'not_created';
}

function fits({ state, sizeBytes, receivedBytes }: Upload, totalBytes: number | undefined): boolean {
  if (totalBytes === undefined || sizeBytes === totalBytes) return true;
  return sizeBytes === undefined && state === 'open' && receivedBytes <= totalBytes;
}

/** `undefined`: somebody else is opening it, or it has ended already. Look again. */
async function openNamed(deps: Deps, input: JoinInput, previous: Upload | undefined): Promise<Upload | undefined> {
  const { principal, bucket, key, totalBytes, sessionHash } = input.name;
  // All first writers take the same key, so that they get one upload; the next one after it has another predecessor.
  const identity = JSON.stringify([textOfName(deps, input.name), previous?.id ?? '']);
  try {
    const upload = await createUpload(deps, {
      principal,
      protocol: 'content-range',
      bucket,
      key,
      sizeBytes: totalBytes,
      layout: 'undecided',
      isSelfCompleting: true,
      sessionHash,
      contentType: await input.contentType?.(),
      idempotencyKey: `content-range ${createHash('sha256').update(identity).digest('hex')}`,
    });
    return upload.state === 'open' ? upload : undefined;
  } catch (error) {
    const hasRival = error instanceof UploadError && (error.code === 'busy' || error.code === 'idempotency_conflict');
    if (hasRival) return undefined;
    throw error;
  }
}

async function awaitCompletion(deps: Deps, principal: Principal, upload: Upload): Promise<void> {
  const outcome = await completeUpload(deps, { principal, uploadId: upload.id, byItself: true }).catch(
    (error: unknown) => {
      // The store refused, and the upload is open again.
      const isOpen =
        error instanceof UploadError && (error.code === 'incomplete' || error.details.conflict === 'disputed');
      if (isOpen) return undefined;
      throw error;
    },
  );
  if (outcome?.kind === 'pending') throw notOpen(outcome.upload);
}

function isJustCompleted({ clock }: Deps, ended: Upload | undefined): ended is Upload {
  if (ended?.state !== 'completed' || ended.completedAt === undefined || ended.isConflicted) return false;
  return clock.now().getTime() - ended.completedAt.getTime() < repeatedWithinMs;
}

function settledEnd(ended: Upload | undefined): Upload {
  if (ended?.state === 'completed') return ended;
  throw goneError(ended?.reason);
}

function stillOpeningError(): UploadError {
  return new UploadError('busy', 'Another request is opening this upload, and has not come to an end. Try again.', {
    retryAfterSeconds: 2,
  });
}
