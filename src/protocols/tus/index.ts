import { type Context, Hono } from 'hono';
import { RecentUploads } from '../../core/recent-uploads.ts';
import { answerErrors, type ErrorLog } from '../http/answer-errors.ts';
import type { HttpEnv } from '../http/env.ts';
import { notAllowed } from '../http/not-allowed.ts';
import { problemsBy } from '../http/problem.ts';
import { onCreate } from './create.ts';
import { onGet } from './download.ts';
import { tusProblemOf } from './errors.ts';
import { type TusDeps, tusPath } from './front.ts';
import { onHead } from './head.ts';
import { methodOf } from './method.ts';
import { onOptions } from './options.ts';
import { onPatch } from './patch.ts';
import { requireVersion } from './protocol-version.ts';
import { onDelete } from './terminate.ts';

type Handler = (c: Context<HttpEnv>, deps: TusDeps) => Response | Promise<Response>;

const onCollection: Readonly<Record<string, Handler>> = { OPTIONS: onOptions, POST: onCreate };
const onUpload: Readonly<Record<string, Handler>> = {
  OPTIONS: onOptions,
  HEAD: onHead,
  PATCH: onPatch,
  DELETE: onDelete,
  GET: onGet,
};

/** tus 1.0.0, "resumable upload protocol", with its extensions. */
export function tusFront(options: Omit<TusDeps, 'recent'> & { readonly errorLog: ErrorLog }): Hono<HttpEnv> {
  const deps: TusDeps = { ...options, recent: new RecentUploads(options.core.clock) };
  const app = new Hono<HttpEnv>();
  app.onError(answerErrors(problemsBy(tusProblemOf), options.errorLog));
  const mount = (path: string, handlers: Readonly<Record<string, Handler>>) =>
    app.all(path, requireVersion, async (c) => {
      const method = methodOf(c);
      const handler = Object.hasOwn(handlers, method) ? handlers[method] : undefined;
      if (handler === undefined) return notAllowed(c, Object.keys(handlers));
      if (method !== 'OPTIONS') await deps.authenticate(c, async () => {});
      return handler(c, deps);
    });
  mount(tusPath, onCollection);
  mount(`${tusPath}/`, onCollection);
  mount(`${tusPath}/:id`, onUpload);
  return app;
}
