import { OpenAPIHono } from '@hono/zod-openapi';
import type { Deps } from './core/deps.ts';
import { newId } from './core/random.ts';
import type { Logger } from './observability/log.ts';
import { contentRangeFront } from './protocols/content-range/index.ts';
import { googleFront } from './protocols/google/index.ts';
import type { Admission } from './protocols/http/admission.ts';
import { answerErrors, type ErrorLog } from './protocols/http/answer-errors.ts';
import type { authenticate } from './protocols/http/authentication.ts';
import { closeInStages } from './protocols/http/close-in-stages.ts';
import { allowOrigins } from './protocols/http/cors.ts';
import type { HttpEnv } from './protocols/http/env.ts';
import { type Dependency, healthPaths, healthRoutes } from './protocols/http/health.ts';
import { problemResponse, problemsIn } from './protocols/http/problem.ts';
import { hasBody } from './protocols/http/raw-body.ts';
import { referenceRoutes } from './protocols/http/reference.ts';
import { ietfFront } from './protocols/ietf/index.ts';
import { restFront } from './protocols/rest/index.ts';
import { restProblems } from './protocols/rest/problems.ts';
import { tusFront } from './protocols/tus/index.ts';

export interface AppOptions {
  readonly core: Deps;
  readonly admission: Admission;
  readonly authenticate: ReturnType<typeof authenticate>;
  readonly dependencies: readonly Dependency[];
  readonly publicUrl: string | undefined;
  /** Whose scripts in browsers may call. */
  readonly corsOrigins: readonly string[];
  readonly readsObjects: boolean;
  readonly supersedeAfterMs: number;
  readonly readBackBytes: number;
  readonly log: Logger;
  /** Answers then ask the client to close its connection. */
  readonly isStopping: () => boolean;
}

/** The Hono app: the order of what every request passes, and which front is mounted where. */
export function createApp(options: AppOptions): OpenAPIHono<HttpEnv> {
  const { log } = options;
  const app = new OpenAPIHono<HttpEnv>();

  app.use(async (c, next) => {
    const requestId = newId();
    const { incoming, outgoing } = c.env;
    c.set('requestId', requestId);
    c.set('bodyIdleMs', options.core.settings.bodyIdleMs);
    c.set('admission', options.admission);
    // On Node's answer, not on Hono's: a header that is set on that one afterwards makes a second one of it.
    outgoing.setHeader('X-Request-Id', requestId);
    const began = performance.now();
    await next();
    const alreadySent = outgoing.headersSent || outgoing.destroyed;
    // What is left of a body would be read as the next request.
    const hasMore = hasBody(incoming) && !incoming.complete;
    if (!alreadySent && (hasMore || options.isStopping())) outgoing.setHeader('Connection', 'close');
    if (!alreadySent && hasMore) closeInStages(incoming);
    const brokeOff = outgoing.destroyed && !outgoing.writableFinished;
    const status = alreadySent ? outgoing.statusCode : c.res.status;
    // Orchestrators ask every few seconds; only that all is not well is news.
    const isRoutine = healthPaths.has(c.req.path) && status < 400;
    log[isRoutine ? 'debug' : 'info'](
      {
        requestId,
        method: c.req.method,
        path: c.req.path,
        ...(brokeOff ? {} : { status }),
        ms: Math.round(performance.now() - began),
      },
      brokeOff ? 'request broke off' : 'request',
    );
  });

  if (options.corsOrigins.length > 0) app.use(allowOrigins(options.corsOrigins));

  const errorLog: ErrorLog = {
    onFault: (requestId, error) => log.warn({ requestId, code: error.code, err: error.cause }, error.message),
    onBug: (requestId, error) => log.error({ requestId, err: error }, 'unexpected error'),
  };
  app.onError(answerErrors(problemsIn(restProblems), errorLog));

  app.notFound((c) =>
    problemResponse({
      status: 404,
      requestId: c.get('requestId'),
      body: { title: 'Not found', detail: `There is no ${c.req.method} ${c.req.path}.`, code: 'not_found' },
    }),
  );

  app.route(
    '/',
    healthRoutes(options.dependencies, (name, error) => log.warn({ dependency: name, err: error }, 'does not answer')),
  );
  app.route('/', referenceRoutes());
  app.doc31('/openapi.json', {
    openapi: '3.1.0',
    info: {
      title: 'Partway',
      version: '1',
      description: 'Resumable uploads into S3. List the parts and carry on.',
    },
  });
  // Before those that share its paths: what says `Upload-Complete` is its own.
  app.route('/', ietfFront({ ...options, errorLog }));
  app.route('/', contentRangeFront({ ...options, errorLog }));
  app.route('/', restFront({ ...options, errorLog }));
  app.route('/', googleFront({ ...options, errorLog }));
  app.route('/', tusFront({ ...options, errorLog }));
  return app;
}
