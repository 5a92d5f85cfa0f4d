import { type Context, Hono, type MiddlewareHandler } from 'hono';
import { UploadError } from '../../core/errors.ts';
import { answerErrors, type ErrorLog } from '../http/answer-errors.ts';
import type { HttpEnv } from '../http/env.ts';
import { notAllowed } from '../http/not-allowed.ts';
import { problemsBy } from '../http/problem.ts';
import { onCancel } from './cancel.ts';
import { onCreate } from './create.ts';
import { uploadCompleteOf } from './fields.ts';
import { type IetfDeps, resourcePath } from './front.ts';
import { onOptions } from './options.ts';
import { onPatch } from './patch.ts';
import { ietfProblemOf } from './problems.ts';
import { onRetrieve } from './retrieve.ts';
import { generalLimit } from './upload-limit.ts';

/** Resumable Uploads for HTTP (draft-ietf-httpbis-resumable-upload). */
export function ietfFront(deps: IetfDeps & { readonly errorLog: ErrorLog }): Hono<HttpEnv> {
  const app = new Hono<HttpEnv>();
  const answer = answerErrors(problemsBy(ietfProblemOf), deps.errorLog);
  app.onError((error, c) => {
    if (error instanceof UploadError) setHeaders(c, deps, error);
    return answer(error, c);
  });
  const objects = '/objects/:key{[\\s\\S]+}';
  const creating: MiddlewareHandler<HttpEnv> = async (c, next) => {
    const completes = uploadCompleteOf(c);
    // Without it the request is of another protocol.
    if (completes === undefined) {
      requireNoPart(c);
      return next();
    }
    await deps.authenticate(c, async () => {});
    return onCreate(c, deps, completes);
  };
  app.on(['POST', 'PUT', 'PATCH'], objects, creating);
  app.options(objects, (c) => onOptions(c, deps));
  const resource = `${resourcePath}/:id`;
  app.options(resource, (c) => onOptions(c, deps));
  app.use(resource, deps.authenticate);
  app.get(resource, (c) => onRetrieve(c, deps));
  app.patch(resource, (c) => onPatch(c, deps));
  app.delete(resource, (c) => onCancel(c, deps));
  app.all(resource, (c) => notAllowed(c, ['OPTIONS', 'HEAD', 'GET', 'PATCH', 'DELETE']));
  return app;
}

/** Until draft -02: "Upload-Incomplete". What is only a part must not be taken for the whole. */
function requireNoPart(c: Context<HttpEnv>): void {
  if (c.req.header('upload-incomplete')?.trim() !== '?1') return;
  throw new UploadError('invalid_request', 'Upload-Incomplete is of an older draft. Send Upload-Complete: ?0.', {
    details: { field: 'Upload-Incomplete' },
  });
}

function setHeaders({ env: { outgoing } }: Context<HttpEnv>, { core }: IetfDeps, { code, details }: UploadError): void {
  // "The response MUST include the correct offset in the Upload-Offset header field."
  const expected = details['expected-offset'];
  if (typeof expected === 'number') {
    outgoing.setHeader('Upload-Offset', String(expected));
    outgoing.setHeader('Upload-Complete', '?0');
  }
  // "A server responding with a 413 Content Too Large status code as a result of its upload limits MUST include the Upload-Limit
  // header in this response".
  if (code === 'limit_exceeded') outgoing.setHeader('Upload-Limit', generalLimit(core));
}
