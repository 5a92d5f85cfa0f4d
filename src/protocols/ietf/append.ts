import type { Context } from 'hono';
import { abortUpload } from '../../core/abort.ts';
import { declareDigest } from '../../core/declare-digest.ts';
import type { Digests } from '../../core/digest.ts';
import { endIfWhole } from '../../core/end-if-whole.ts';
import { UploadError } from '../../core/errors.ts';
import { findUpload, requireNotGone } from '../../core/find.ts';
import { isWhole } from '../../core/is-whole.ts';
import type { LiveAttempt } from '../../core/live-attempts.ts';
import type { Upload } from '../../core/upload.ts';
import { writeRange } from '../../core/write-range.ts';
import { rangeBodyBytes } from '../http/admission.ts';
import { contentDigestsOf } from '../http/digest-fields.ts';
import type { HttpEnv } from '../http/env.ts';
import { bodyLengthOf, rawBodyOf } from '../http/raw-body.ts';
import { integerOf } from './fields.ts';
import type { IetfDeps } from './front.ts';
import { tellProgress } from './interim.ts';
import { interopHeader, interopVersionOf } from './interop.ts';
import { inconsistentLength, mismatchingOffset } from './problems.ts';
import { declaredDigest, wholeDigestsOf } from './repr-digest.ts';

/** What a request says of its content. */
export interface Content {
  /** Where it begins. */
  readonly offset: number;
  /** It is the end of the representation. */
  readonly completes: boolean;
  /** Of the content; `undefined` until it ends. */
  readonly sizeBytes: number | undefined;
  /** Of the whole, as far as the request tells. */
  readonly totalBytes: number | undefined;
  /** Of the whole, where it is this content: what only reading it again could tell later. */
  readonly wholeDigests: Digests | undefined;
}

/**
 * "1. If the request includes the Upload-Complete field value set to true and a valid Content-Length header field … The length
 * is then the sum of the current offset and the Content-Length header field value. 2. The request can include the
 * Upload-Length header field". "If indicators (1) and (2) are both present in the same request, their indicated lengths MUST
 * match."
 * @throws UploadError
 */
export function contentOf(c: Context<HttpEnv>, offset: number, completes: boolean): Content {
  const sizeBytes = bodyLengthOf(c.env.incoming);
  const told = integerOf(c, 'upload-length');
  const meant = completes && sizeBytes !== undefined ? offset + sizeBytes : undefined;
  if (told !== undefined && meant !== undefined && told !== meant) {
    throw inconsistentLength(`The content ends at ${meant}, and Upload-Length is ${told}.`);
  }
  return {
    offset,
    completes,
    sizeBytes,
    totalBytes: told ?? meant,
    wholeDigests: completes && offset === 0 ? wholeDigestsOf(c.req.header('repr-digest')) : undefined,
  };
}

/**
 * Appends the content.
 * @param writer announced, and ended by the caller
 * @returns the upload, `completed` where the content completes it
 * @throws as `writeRange`
 */
export async function append(
  c: Context<HttpEnv>,
  deps: IetfDeps,
  upload: Upload,
  content: Content,
  writer: LiveAttempt,
): Promise<Upload> {
  const { incoming, outgoing } = c.env;
  const principal = c.get('principal');
  const { offset, completes, sizeBytes, totalBytes, wholeDigests } = content;
  const length = upload.sizeBytes;
  const sentTo = offset + (sizeBytes ?? 0);
  if (length !== undefined && sentTo > length) throw await invalidate(c, deps, upload, length);
  if (totalBytes !== undefined && totalBytes !== (length ?? totalBytes)) {
    throw inconsistentLength(`The length is ${length} already, not ${totalBytes}.`);
  }
  // A length that is told first here, and can't be true, is no reason to lose what came.
  if (totalBytes !== undefined && sentTo > totalBytes) {
    throw inconsistentLength(`The content ends at ${sentTo}, and Upload-Length is ${totalBytes}.`);
  }
  const digest = completes ? declaredDigest(c.req.header('repr-digest')) : undefined;
  if (digest !== undefined) await declareDigest(deps.core, upload, digest);
  const version = interopVersionOf(c);
  let after: Upload;
  try {
    after = await deps.admission.admit(rangeBodyBytes(sizeBytes), () =>
      writeRange(deps.core, {
        principal,
        upload,
        offset,
        sizeBytes,
        totalBytes,
        // What ends before a length that is known is no reason to lose what came.
        endsUpload: completes && length === undefined,
        mode: 'append',
        isExact: true,
        writer,
        completes,
        // What is left of a representation says nothing of how its client cuts it.
        chunkSizeBytes: completes ? undefined : sizeBytes,
        digests: contentDigestsOf(incoming.headers),
        wholeDigests,
        onOffset: version === undefined ? undefined : tellProgress(outgoing, { [interopHeader]: String(version) }),
        body: () => rawBodyOf(incoming),
      }),
    );
  } catch (error) {
    throw error instanceof UploadError ? await refusal(c, deps, upload, content, error) : error;
  }
  if (completes && after.sizeBytes !== undefined && after.offset < after.sizeBytes) {
    throw inconsistentLength(`The content ends at ${after.offset}, and the length is ${after.sizeBytes}.`);
  }
  return after;
}

/** How the draft names what the core refused. */
async function refusal(
  c: Context<HttpEnv>,
  deps: IetfDeps,
  upload: Upload,
  content: Content,
  error: UploadError,
): Promise<UploadError> {
  const { conflict, offset: expected, uploadState } = error.details;
  if (conflict === 'size') return misfit(c, deps, upload, content);
  if (conflict === 'gap' && typeof expected === 'number') return mismatchingOffset(expected, content.offset);
  if (error.code === 'digest_mismatch') await endWrong(c, deps, upload, content);
  return uploadState === 'completed' ? inconsistentLength('The upload is completed.') : error;
}

/** Either the content ran beyond the length under which it was sent, or another request has told a length meanwhile. */
async function misfit(c: Context<HttpEnv>, deps: IetfDeps, upload: Upload, content: Content): Promise<UploadError> {
  const now = await findUpload(deps.core, c.get('principal'), upload.id);
  const { sizeBytes: length, offset } = now;
  const isOfUnknownEnd = content.sizeBytes === undefined;
  if (isOfUnknownEnd && length !== undefined && length === (upload.sizeBytes ?? content.totalBytes)) {
    return invalidate(c, deps, now, length);
  }
  requireNotGone(now);
  if (offset !== content.offset) return mismatchingOffset(offset, content.offset);
  return inconsistentLength(length === undefined ? 'The length is told otherwise now.' : `The length is ${length}.`);
}

/** What came is known not to be the whole: nobody can go on with it. That of one request alone can be sent again. */
async function endWrong(c: Context<HttpEnv>, deps: IetfDeps, upload: Upload, content: Content): Promise<void> {
  if (content.wholeDigests !== undefined) await end(c, deps, upload);
  else await endIfWhole(deps.core, c.get('principal'), upload.id);
}

async function end(c: Context<HttpEnv>, { core }: IetfDeps, { id }: Upload): Promise<void> {
  const now = await findUpload(core, c.get('principal'), id);
  if (now.state === 'open') await abortUpload(core, c.get('principal'), id);
}

/**
 * "the server MUST prevent the offset from exceeding the upload length by rejecting the request once the offset exceeds the
 * length, marking the upload resource invalid and rejecting any further interaction with it." One that is whole is about to be
 * completed, and then takes no more content either.
 */
async function invalidate(c: Context<HttpEnv>, deps: IetfDeps, upload: Upload, length: number): Promise<UploadError> {
  if (isWhole(upload)) return inconsistentLength(`The upload has all of its ${length} bytes.`);
  await end(c, deps, upload);
  return inconsistentLength(
    `There is more content than the length, ${length}, allows. The upload is ended: create a new one.`,
  );
}
