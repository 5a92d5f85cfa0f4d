import type { Context } from 'hono';
import { createUpload } from '../../core/create.ts';
import { findByName, type UploadName } from '../../core/join-by-name.ts';
import { tellSize } from '../../core/tell-size.ts';
import type { Upload } from '../../core/upload.ts';
import { writeByName } from '../../core/write-by-name.ts';
import { writeRange } from '../../core/write-range.ts';
import { contentDigestsOf } from '../http/digest-fields.ts';
import type { HttpEnv } from '../http/env.ts';
import { objectKeyOf } from '../http/object-key.ts';
import { rawBodyOf } from '../http/raw-body.ts';
import { answerUpload } from './answer.ts';
import type { ContentRangeDeps } from './front.ts';
import { contentTypeOf, dialectOf, parseRequest, sessionHashOf } from './request.ts';
import { waitForRoom } from './wait-for-room.ts';

/** `PUT` or `POST /objects/<key>`: the name is all that the client knows. */
export async function onObject(c: Context<HttpEnv>, deps: ContentRangeDeps): Promise<Response> {
  const { incoming } = c.env;
  const request = parseRequest(incoming);
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
      return answer(await putWhole(c, deps, place, request.sizeBytes));
    case 'query': {
      const upload = await findByName(deps.core, named(request.totalBytes));
      if (request.totalBytes === undefined || upload.state !== 'open') return answer(upload);
      return answer(await tellSize(deps.core, { ...place, upload, totalBytes: request.totalBytes, completes: true }));
    }
    case 'chunk':
      return answer(
        await writeByName(
          deps.core,
          { recent: deps.recent, withRoom: (work, hasBegun) => waitForRoom(deps, request.sizeBytes, work, hasBegun) },
          {
            name: named(request.totalBytes),
            chunk: { ...request, digests: contentDigestsOf(incoming.headers), body: () => rawBodyOf(incoming) },
            contentType: contentTypeOf(incoming.headers),
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
  place: Pick<UploadName, 'principal' | 'bucket' | 'key'>,
  sizeBytes: number | undefined,
): Promise<Upload> {
  const { incoming } = c.env;
  const digests = contentDigestsOf(incoming.headers);
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
        contentType: contentTypeOf(incoming.headers),
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
        digests,
        body: () => rawBodyOf(incoming),
      });
    },
    () => hasBegun,
  );
}
