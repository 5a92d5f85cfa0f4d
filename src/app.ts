import { RESPONSE_ALREADY_SENT } from '@hono/node-server/utils/response';
import { OpenAPIHono } from '@hono/zod-openapi';
import { HTTPException } from 'hono/http-exception';
import type { Deps } from './core/deps.ts';
import { ClientGoneError, UploadError } from './core/errors.ts';
import { newId } from './core/random.ts';
import type { Logger } from './observability/log.ts';
import type { Admission } from './protocols/http/admission.ts';
import type { authenticate } from './protocols/http/authentication.ts';
import type { HttpEnv } from './protocols/http/env.ts';
import { type Dependency, healthRoutes } from './protocols/http/health.ts';
import { internalProblem, problemOf, problemResponse } from './protocols/http/problem.ts';
import { hasBody } from './protocols/http/raw-body.ts';
import { referenceRoutes } from './protocols/http/reference.ts';
import { restFront } from './protocols/rest/index.ts';
import { restProblems } from './protocols/rest/problems.ts';

export interface AppOptions {
  readonly core: Deps;
  readonly admission: Admission;
  readonly authenticate: ReturnType<typeof authenticate>;
  readonly dependencies: readonly Dependency[];
  readonly publicUrl: string | undefined;
  readonly readsObjects: boolean;
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
    c.set('requestId', requestId);
    c.set('bodyIdleMs', options.core.settings.bodyIdleMs);
    c.set('admission', options.admission);
    const began = performance.now();
    await next();
    const { incoming, outgoing } = c.env;
    const alreadySent = outgoing.headersSent || outgoing.destroyed;
    if (!alreadySent) {
      // What is left of a body would be read as the next request.
      if ((hasBody(incoming) && !incoming.complete) || options.isStopping()) c.header('Connection', 'close');
      c.header('X-Request-Id', requestId);
    }
    const brokeOff = outgoing.destroyed && !outgoing.writableFinished;
    log.info(
      {
        requestId,
        method: c.req.method,
        path: c.req.path,
        ...(brokeOff ? {} : { status: alreadySent ? outgoing.statusCode : c.res.status }),
        ms: Math.round(performance.now() - began),
      },
      brokeOff ? 'request broke off' : 'request',
    );
  });

  app.onError((error, c) => {
    const requestId = c.get('requestId');
    if (error instanceof ClientGoneError) {
      c.env.outgoing.destroy();
      return RESPONSE_ALREADY_SENT;
    }
    if (error instanceof UploadError) {
      if (restProblems[error.code].status >= 500)
        log.warn({ requestId, code: error.code, err: error.cause }, error.message);
      return problemOf(error, restProblems, requestId);
    }
    if (error instanceof HTTPException) {
      // Hono's own refusals, such as malformed JSON.
      return problemOf(new UploadError('invalid_request', `${error.message}.`), restProblems, requestId);
    }
    log.error({ requestId, err: error }, 'unexpected error');
    return internalProblem(requestId);
  });

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
  app.use('/uploads/*', options.authenticate);
  app.use('/objects/*', options.authenticate);
  app.route('/', restFront(options, { readsObjects: options.readsObjects }));
  return app;
}
