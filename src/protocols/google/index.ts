import { Hono } from 'hono';
import { RecentUploads } from '../../core/recent-uploads.ts';
import { answerErrors, type ErrorLog } from '../http/answer-errors.ts';
import type { HttpEnv } from '../http/env.ts';
import { notAllowed } from '../http/not-allowed.ts';
import { addCancel } from './cancel.ts';
import { type GoogleDeps, uploadPath } from './front.ts';
import { googleAnswers } from './google-answers.ts';
import { addOpen } from './open.ts';
import { addPut } from './put.ts';
import { RecentDigests } from './recent-digests.ts';

/** Google's resumable uploads, as the JSON API of Cloud Storage has them. */
export function googleFront(
  options: Omit<GoogleDeps, 'digests' | 'recent'> & {
    readonly errorLog: ErrorLog;
    /** The largest object that is read back for a digest that was not carried along. */
    readonly readBackBytes: number;
  },
): Hono<HttpEnv> {
  const deps = {
    ...options,
    digests: new RecentDigests(options.core, options.readBackBytes),
    recent: new RecentUploads(options.core.clock),
  };
  const app = new Hono<HttpEnv>();
  app.onError(answerErrors(googleAnswers, options.errorLog));
  addPut(app, deps);
  addOpen(app, deps);
  addCancel(app, deps);
  app.all(uploadPath, (c) => notAllowed(c, ['POST', 'PUT', 'DELETE']));
  return app;
}
