import type { OpenAPIHono } from '@hono/zod-openapi';
import type { MiddlewareHandler } from 'hono';
import { answerErrors, type ErrorLog } from '../http/answer-errors.ts';
import type { HttpEnv } from '../http/env.ts';
import { problemsIn } from '../http/problem.ts';
import { addAbort } from './abort.ts';
import { addComplete } from './complete.ts';
import { addCreate } from './create.ts';
import { createRestApp, type RestDeps } from './front.ts';
import { addList } from './list.ts';
import { addListParts } from './list-parts.ts';
import { addLook } from './look.ts';
import { restProblems } from './problems.ts';
import { addPutPart } from './put-part.ts';
import { addReadObject } from './read-object.ts';
import { addReportParts } from './report-parts.ts';
import { addSignParts } from './sign-parts.ts';

/** The native REST protocol. */
export function restFront(
  deps: RestDeps & { readonly authenticate: MiddlewareHandler<HttpEnv>; readonly errorLog: ErrorLog },
): OpenAPIHono<HttpEnv> {
  const app = createRestApp();
  app.onError(answerErrors(problemsIn(restProblems), deps.errorLog));
  app.use('/uploads/*', deps.authenticate);
  app.use('/objects/*', deps.authenticate);
  addCreate(app, deps);
  addList(app, deps);
  addLook(app, deps);
  addAbort(app, deps);
  addListParts(app, deps);
  addPutPart(app, deps);
  addSignParts(app, deps);
  addReportParts(app, deps);
  addComplete(app, deps);
  if (deps.readsObjects) addReadObject(app, deps);
  return app;
}
