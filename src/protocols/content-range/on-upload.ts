import type { Context } from 'hono';
import { UploadError } from '../../core/errors.ts';
import { findUpload, requireNotGone } from '../../core/find.ts';
import { requireSameTotal, writeById } from '../../core/write-by-name.ts';
import type { HttpEnv } from '../http/env.ts';
import { answerUpload } from './answer.ts';
import { ask } from './ask.ts';
import { bodyOf } from './body.ts';
import type { ContentRangeDeps } from './front.ts';
import { dialectOf, parseRequest } from './request.ts';
import { waitForRoom } from './wait-for-room.ts';

/** `PUT` or `POST /uploads/<id>`: an upload that any front may have opened. */
export async function onUpload(c: Context<HttpEnv>, deps: ContentRangeDeps): Promise<Response> {
  const { incoming } = c.env;
  const principal = c.get('principal');
  const uploadId = c.req.param('id') ?? '';
  const request = parseRequest(incoming);
  const body = bodyOf(incoming, request, c.get('bodyIdleMs'));
  const dialect = dialectOf(incoming.headers);

  switch (request.kind) {
    case 'whole':
      throw new UploadError('invalid_request', 'Say by Content-Range where these bytes belong.', {
        details: { field: 'Content-Range' },
      });
    case 'query': {
      const { totalBytes } = request;
      const upload = await findUpload(deps.core, principal, uploadId);
      requireNotGone(upload);
      requireSameTotal(upload, totalBytes);
      return answerUpload(deps.core, await ask(deps, { principal, upload, totalBytes }), dialect);
    }
    case 'chunk': {
      const upload = await writeById(
        deps.core,
        { recent: deps.recent, withRoom: (work, hasBegun) => waitForRoom(deps, request.sizeBytes, work, hasBegun) },
        { principal, uploadId, chunk: { ...request, digests: body.digests, body: () => body.open() } },
      );
      return answerUpload(deps.core, upload, dialect);
    }
  }
}
