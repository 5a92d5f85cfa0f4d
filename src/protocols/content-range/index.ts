import { OpenAPIHono } from '@hono/zod-openapi';
import type { Context, MiddlewareHandler } from 'hono';
import { requireScope } from '../../core/principal.ts';
import { RecentUploads } from '../../core/recent-uploads.ts';
import { answerErrors, type ErrorLog } from '../http/answer-errors.ts';
import type { HttpEnv } from '../http/env.ts';
import { problemsIn } from '../http/problem.ts';
import type { ContentRangeDeps } from './front.ts';
import { onObject } from './on-object.ts';
import { onUpload } from './on-upload.ts';
import { contentRangeProblems } from './problems.ts';
import { describeRoutes } from './routes.ts';

/** Chunks that say where they belong, to a name or to an upload; and whole objects in one request. */
export function contentRangeFront(
  options: Omit<ContentRangeDeps, 'recent'> & {
    readonly authenticate: MiddlewareHandler<HttpEnv>;
    readonly errorLog: ErrorLog;
  },
): OpenAPIHono<HttpEnv> {
  const deps: ContentRangeDeps = { ...options, recent: new RecentUploads(options.core.clock) };
  const app = new OpenAPIHono<HttpEnv>();
  app.onError(answerErrors(problemsIn(contentRangeProblems), options.errorLog));
  const mayWrite: MiddlewareHandler<HttpEnv> = async (c, next) => {
    requireScope(c.get('principal'), 'uploads:write');
    await next();
  };
  const methods = ['PUT', 'POST'];
  app.on(methods, '/objects/:key{[\\s\\S]+}', options.authenticate, mayWrite, (c: Context<HttpEnv>) =>
    onObject(c, deps),
  );
  app.on(methods, '/uploads/:id', options.authenticate, mayWrite, (c: Context<HttpEnv>) => onUpload(c, deps));
  describeRoutes(app);
  return app;
}
