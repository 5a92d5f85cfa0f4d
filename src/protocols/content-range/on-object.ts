import type { Context } from 'hono';
import { abortUpload } from '../../core/abort.ts';
import { createUpload } from '../../core/create.ts';
import { UploadError } from '../../core/errors.ts';
import { findByName, type UploadName } from '../../core/join-by-name.ts';
import type { Upload } from '../../core/upload.ts';
import { writeByName } from '../../core/write-by-name.ts';
import { writeRange } from '../../core/write-range.ts';
import type { HttpEnv } from '../http/env.ts';
import { objectKeyOf } from '../http/object-key.ts';
import { answerUpload } from './answer.ts';
import { ask } from './ask.ts';
import { bodyOf, type RequestBody } from './body.ts';
import type { ContentRangeDeps } from './front.ts';
import { contentRangeProblems } from './problems.ts';
import { dialectOf, parseRequest, sessionHashOf } from './request.ts';
import { waitForRoom } from './wait-for-room.ts';

/** `PUT` or `POST /objects/<key>`: the name is all that the client knows. */
export async function onObject(c: Context<HttpEnv>, deps: ContentRangeDeps): Promise<Response> {
  const { incoming } = c.env;
  const request = parseRequest(incoming);
  const body = bodyOf(incoming, request, c.get('bodyIdleMs'));
  const place = {
    principal: c.get('principal'),
    bucket: c.req.query('bucket'),
    key: objectKeyOf(incoming.url ?? ''),
  };
  const named = (totalBytes: number | undefined): UploadName => ({
    ...place,
    totalBytes,
    sessionHash: sessionHashOf(incoming.headers, c.req.query('session')),
  });
  const answer = (upload: Upload) => answerUpload(deps.core, upload, dialectOf(incoming.headers));

  switch (request.kind) {
    case 'whole':
      return answer(await putWhole(c, deps, { place, body, sizeBytes: request.sizeBytes }));
    case 'query': {
      const upload = await findByName(deps.core, named(request.totalBytes));
      return answer(await ask(deps, { ...place, upload, totalBytes: request.totalBytes }));
    }
    case 'chunk':
      return answer(
        await writeByName(
          deps.core,
          { recent: deps.recent, withRoom: (work, hasBegun) => waitForRoom(deps, request.sizeBytes, work, hasBegun) },
          {
            name: named(request.totalBytes),
            chunk: { ...request, digests: body.digests, body: () => body.open() },
            contentType: () => body.contentType(),
            supersedeAfterMs: deps.supersedeAfterMs,
          },
        ),
      );
  }
}

/** Of an object this large fewer and larger parts cost less. */
const largeBytes = 512 * 1024 * 1024;
const largePartBytes = 32 * 1024 * 1024;

/** An upload of its own, whatever is under way to the same name: the last to complete is the object. */
async function putWhole(
  c: Context<HttpEnv>,
  deps: ContentRangeDeps,
  object: {
    readonly place: Pick<UploadName, 'principal' | 'bucket' | 'key'>;
    readonly body: RequestBody;
    readonly sizeBytes: number | undefined;
  },
): Promise<Upload> {
  const { place, body, sizeBytes } = object;
  let hasBegun = false;
  return waitForRoom(
    deps,
    sizeBytes,
    async () => {
      const upload = await createUpload(deps.core, {
        ...place,
        protocol: 'content-range',
        sizeBytes,
        layout: 'planned',
        chunkSizeBytes: sizeBytes !== undefined && sizeBytes >= largeBytes ? largePartBytes : undefined,
        isSelfCompleting: true,
        contentType: await body.contentType(),
        ifNoneMatch: c.req.header('if-none-match')?.trim() === '*',
        front: { whole: true },
      });
      hasBegun = true;
      return writeRange(deps.core, {
        principal: place.principal,
        upload,
        offset: 0,
        sizeBytes,
        totalBytes: sizeBytes,
        endsUpload: true,
        mode: 'anywhere',
        completes: true,
        digests: body.digests,
        body: () => body.open(),
      }).catch(async (error: unknown) => {
        // Nobody goes on with what was refused: it must not become an object later, nor keep its bytes.
        if (isRefused(error)) await abortUpload(deps.core, place.principal, upload.id).catch(() => undefined);
        throw error;
      });
    },
    () => hasBegun,
  );
}

function isRefused(error: unknown): boolean {
  if (!(error instanceof UploadError)) return false;
  const { status } = contentRangeProblems[error.code];
  return (status >= 400 && status < 500 && status !== 408) || error.code === 'store_full';
}
