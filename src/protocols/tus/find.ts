import type { Context } from 'hono';
import { completeWhole, unconfirmedError } from '../../core/complete-whole.ts';
import { findUpload, requireNotGone, requireOffset } from '../../core/find.ts';
import { isWhole, requireUndisputed } from '../../core/is-whole.ts';
import type { Upload } from '../../core/upload.ts';
import type { HttpEnv } from '../http/env.ts';
import type { TusDeps } from './front.ts';

/** So long a request waits for an object that is being made. */
const longestWaitMs = 1_000;

/**
 * The upload of a URL, as the records have it.
 * @throws UploadError `upload_not_found`, `upload_gone`, `state_conflict`
 */
export async function uploadOf(c: Context<HttpEnv>, deps: TusDeps): Promise<Upload> {
  return requireUsable(await findUpload(deps.core, c.get('principal'), c.req.param('id') ?? ''));
}

/** @throws UploadError `upload_gone`; `state_conflict` for one whose parts have sizes of their own */
export function requireUsable(upload: Upload): Upload {
  requireNotGone(upload);
  if (upload.sources === undefined) requireOffset(upload);
  return upload;
}

/**
 * An upload of which every byte is durable is told of once the store has made the object: a client takes an offset that is
 * the length for the end.
 * @throws UploadError `busy` while that takes longer than a moment, `store_*`
 */
export async function confirmed(c: Context<HttpEnv>, { core }: TusDeps, upload: Upload): Promise<Upload> {
  const { state } = upload;
  if (state === 'completed' || (state !== 'completing' && !isWhole(upload))) return upload;
  requireUndisputed(upload);
  const enough = new AbortController();
  const completed = completeWhole(core, { principal: c.get('principal'), upload });
  completed.catch(() => undefined);
  try {
    const late = core.clock.sleep(longestWaitMs, enough.signal).then((): never => {
      throw unconfirmedError(2);
    });
    return await Promise.race([completed, late]);
  } finally {
    enough.abort();
  }
}
