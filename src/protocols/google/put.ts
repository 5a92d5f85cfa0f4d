import type { Context, Hono } from 'hono';
import { askWriter } from '../../core/ask-writer.ts';
import { completeWhole } from '../../core/complete-whole.ts';
import { declareDigest } from '../../core/declare-digest.ts';
import { endIfWhole } from '../../core/end-if-whole.ts';
import { UploadError } from '../../core/errors.ts';
import { findUpload, requireNotGone } from '../../core/find.ts';
import { isWhole, requireUndisputed } from '../../core/is-whole.ts';
import { tellSize } from '../../core/tell-size.ts';
import type { Upload } from '../../core/upload.ts';
import { writeRange } from '../../core/write-range.ts';
import { rangeBodyBytes } from '../http/admission.ts';
import { contentDigestsOf } from '../http/digest-fields.ts';
import type { HttpEnv } from '../http/env.ts';
import { bodyLengthOf, rawBodyOf } from '../http/raw-body.ts';
import { type GoogleDeps, uploadPath } from './front.ts';
import { googHashOf } from './goog-hash.ts';
import { renderObject } from './object-resource.ts';
import { type Data, placementOf, type Question } from './placement.ts';
import { resumeIncomplete } from './progress.ts';
import { repeat, requireFit } from './repeat.ts';
import { inSession, openSession } from './session.ts';

/** `PUT <session URI>`: bytes of the object, or the question how many are held. Go's client sends them by `POST`. */
export function addPut(app: Hono<HttpEnv>, deps: GoogleDeps): void {
  app.put(uploadPath, (c) => onPut(c, deps));
  app.post(uploadPath, (c, next) => (c.req.query('upload_id') === undefined ? next() : onPut(c, deps)));
}

async function onPut(c: Context<HttpEnv>, deps: GoogleDeps): Promise<Response> {
  const placement = placementOf(c.req.header('content-range'), bodyLengthOf(c.env.incoming));
  const moved =
    placement.kind === 'question'
      ? await ask(c, deps, await openSession(c, deps), placement)
      : await inSession(c, deps, (upload) => write(c, deps, upload, placement));
  return answer(c, deps, await finishIfWhole(c, deps, moved));
}

async function ask(c: Context<HttpEnv>, deps: GoogleDeps, found: Upload, question: Question): Promise<Upload> {
  const { totalBytes } = question;
  requireNotGone(found);
  requireFit(found, question);
  const upload = await askWriter(deps.core, found);
  if (upload.state === 'completed' || totalBytes === undefined) return upload;
  return tellSize(deps.core, { principal: c.get('principal'), upload, totalBytes, completes: true });
}

async function write(c: Context<HttpEnv>, deps: GoogleDeps, upload: Upload, data: Data): Promise<Upload> {
  const { incoming } = c.env;
  const principal = c.get('principal');
  requireNotGone(upload);
  requireFit(upload, data);
  if (upload.state === 'completed') return repeat(c, upload, data);
  const { kind: _, ...range } = data;
  const { crc32c, md5 } = hashOfWhole(c, data);
  if (crc32c !== undefined && (await isInOrder(deps, upload, data))) {
    await declareDigest(deps.core, upload, { algorithm: 'crc32c', value: crc32c });
  }
  try {
    return await orEnd(c, deps, upload, () =>
      deps.admission.admit(rangeBodyBytes(range.sizeBytes), () =>
        writeRange(deps.core, {
          principal,
          upload,
          ...range,
          // "Cloud Storage ignores any bytes you send at an offset that Cloud Storage has already persisted."
          mode: 'append',
          completes: true,
          digests: contentDigestsOf(incoming.headers),
          wholeMd5: md5,
          body: () => rawBodyOf(incoming),
        }),
      ),
    );
  } catch (error) {
    const completedMeanwhile = error instanceof UploadError && error.details.uploadState === 'completed';
    if (!completedMeanwhile) throw error;
    return repeat(c, await findUpload(deps.core, principal, upload.id), data);
  }
}

/**
 * What the last request of all says of the whole. Where it leaves the end of its range open (`A-*`), `@google-cloud/storage`
 * states the hash of what it has read before it begins, which is no hash of anything.
 */
function hashOfWhole(c: Context<HttpEnv>, { offset, sizeBytes, totalBytes }: Data): ReturnType<typeof googHashOf> {
  const hash = googHashOf(c.req.header('x-goog-hash'));
  const isOpen = c.req.header('content-range')?.includes('-*/') === true;
  return isOpen || sizeBytes === undefined || offset + sizeBytes !== totalBytes ? {} : hash;
}

/** All bytes may be durable and the object not made yet: its maker may have died, or is at work. */
async function finishIfWhole(c: Context<HttpEnv>, deps: GoogleDeps, upload: Upload): Promise<Upload> {
  if (upload.state === 'completed' || !isWhole(upload)) return upload;
  requireUndisputed(upload);
  return orEnd(c, deps, upload, () => completeWhole(deps.core, { principal: c.get('principal'), upload }));
}

/** What is refused for its place declares nothing. */
async function isInOrder({ core }: GoogleDeps, upload: Upload, { offset }: Data): Promise<boolean> {
  const now = offset <= upload.offset ? upload : await core.records.find(upload.tenant, upload.id);
  return now !== undefined && offset <= now.offset;
}

/** Bytes that are all there and are not those of the hash can't be sent again: the session ends. */
async function orEnd(
  c: Context<HttpEnv>,
  { core }: GoogleDeps,
  { id }: Upload,
  work: () => Promise<Upload>,
): Promise<Upload> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof UploadError && error.code === 'digest_mismatch') {
      await endIfWhole(core, c.get('principal'), id);
    }
    throw error;
  }
}

async function answer(c: Context<HttpEnv>, deps: GoogleDeps, upload: Upload): Promise<Response> {
  if (upload.state === 'completed') return c.json(renderObject(upload, await deps.digests.of(upload)));
  // Python's client raises ValueError when it is told less than it sent: what was received is durable by now.
  return resumeIncomplete(upload.offset, { no308: c.req.header('x-guploader-no-308')?.toLowerCase() === 'yes' });
}
