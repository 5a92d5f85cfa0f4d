import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { getRequestListener } from '@hono/node-server';
import { createApp } from './app.ts';
import { corsOriginsOf, formatSize, formatSpan, type Settings } from './config.ts';
import type { CoreSettings, Deps } from './core/deps.ts';
import { UploadError } from './core/errors.ts';
import { type ObjectStore, StoreError } from './core/object-store.ts';
import { type Principal, scopes } from './core/principal.ts';
import { newId } from './core/random.ts';
import type { AttemptNews, UploadRecords } from './core/upload-records.ts';
import { createCore } from './create-core.ts';
import { createStore } from './create-store.ts';
import { findPrincipal } from './db/api-keys.ts';
import { Connection } from './db/connection.ts';
import { startEmbeddedPostgres } from './db/embedded-postgres.ts';
import { migrate } from './db/migrate.ts';
import { News } from './db/news.ts';
import { createRecords } from './db/records.ts';
import { logEvents } from './observability/events.ts';
import { createLog, type Logger } from './observability/log.ts';
import { Admission } from './protocols/http/admission.ts';
import { authenticate } from './protocols/http/authentication.ts';
import { answerMalformedRequests } from './protocols/http/client-errors.ts';
import { holdContinues } from './protocols/http/continue.ts';
import { problemResponse } from './protocols/http/problem.ts';
import { rememberPrincipals } from './protocols/http/recent-principals.ts';
import { Reaper } from './reaper/reaper.ts';
import { databaseStartError, listenStartError } from './start-error.ts';

/** For tests: what stands between the core and its ports. */
export interface Overrides {
  readonly wrapStore?: (store: ObjectStore) => ObjectStore;
  readonly wrapRecords?: (records: UploadRecords) => UploadRecords;
  readonly coreSettings?: Partial<CoreSettings>;
}

export interface Gateway {
  readonly url: string;
  /** Whether objects can be read back from it. */
  readonly readsObjects: boolean;
  /** What it works with, a line each, for people. */
  readonly description: readonly string[];
  /** Takes no new work, lets what is under way end, and stops. A second call waits for the first. */
  stop(): Promise<void>;
}

/** Config → adapters → core → app → listen. What was started is stopped again when a later step fails. */
export async function startGateway(settings: Settings, overrides: Overrides = {}): Promise<Gateway> {
  const log = createLog(settings.PARTWAY_LOG_LEVEL);
  for (const warning of settings.warnings) log.warn(warning);
  await using started = new AsyncDisposableStack();

  const stopping = new AbortController();
  const databaseUrl = settings.DATABASE_URL ?? (await startOwnPostgres(settings, log, started));
  await migrate(databaseUrl).catch((error: unknown) => {
    throw databaseStartError(databaseUrl, error);
  });
  const connection = new Connection({
    url: databaseUrl,
    onIdleError: (error) => {
      if (!stopping.signal.aborted) log.warn({ err: error }, 'a connection to Postgres broke');
    },
  });
  started.defer(() => connection.close());
  const news = new News(databaseUrl);
  started.defer(() => news.stop());
  await news.start();
  const store = createStore(settings);
  started.defer(() => store.close());

  const readsObjects = settings.PARTWAY_READ_OBJECTS ?? settings.S3_BUCKET === undefined;
  const halt = new AbortController();
  const core = createCore(settings, {
    records: wrap(createRecords(connection, news), overrides.wrapRecords),
    store: wrap(store, overrides.wrapStore),
    events: logEvents(log),
    newLeaseId: () => news.newLeaseId(),
    halted: halt.signal,
    coreSettings: overrides.coreSettings,
  });
  started.defer(core.clock.every(60_000, () => core.held.dropOlderThan(heldMs)));
  core.records.onNews((heard) => hear(core, heard));
  const reaper = new Reaper(core, {
    onFault: (error, upload) => log.warn({ uploadId: upload?.id, code: error.code, err: error.cause }, 'reaper: later'),
    onBug: (error, upload) => log.error({ uploadId: upload?.id, err: error }, 'reaper: unexpected error'),
  });
  started.defer(() => reaper.stop());

  const app = createApp({
    core,
    admission: new Admission(core.memory),
    authenticate: authenticate(
      settings.PARTWAY_AUTH === 'none'
        ? { anonymous }
        : { find: rememberPrincipals((secret) => findPrincipal(connection, secret), Date.now) },
    ),
    dependencies: [
      { name: 'records', check: () => core.records.check() },
      { name: 'store', check: (signal) => core.store.check(core.settings.defaultBucket, { signal }) },
    ],
    publicUrl: settings.PARTWAY_PUBLIC_URL,
    corsOrigins: corsOriginsOf(settings),
    readsObjects,
    supersedeAfterMs: settings.PARTWAY_SUPERSEDE_AFTER,
    readBackBytes: settings.PARTWAY_READ_BACK_MAX,
    log,
    isStopping: () => stopping.signal.aborted,
  });
  const server = await listen(app.fetch, settings).catch((error: unknown) => {
    throw listenStartError(settings.PARTWAY_HOST, settings.PARTWAY_PORT, error);
  });
  started.defer(() => closeServer(server, core, { graceMs: settings.PARTWAY_SHUTDOWN_GRACE, stopping, halt }));
  const storeFault = await faultOfStore(core);
  if (storeFault !== undefined)
    log.warn({ fault: storeFault }, 'the store cannot be used; uploads are refused until it can');
  reaper.start();

  const owned = started.move();
  let stopped: Promise<void> | undefined;
  return {
    url: urlOf(server, settings.PARTWAY_HOST),
    readsObjects,
    description: [
      `store:   ${core.store.description}, bucket ${core.settings.defaultBucket}`,
      ...(storeFault === undefined ? [] : [`         CANNOT BE USED NOW: ${storeFault}`]),
      `records: ${settings.DATABASE_URL === undefined ? `embedded Postgres in ${join(resolve(settings.PARTWAY_DATA_DIR), 'postgres')}` : describeDatabase(settings.DATABASE_URL)}`,
      `auth:    ${settings.PARTWAY_AUTH === 'none' ? 'none: whoever reaches the port may do everything' : 'API keys (made with: npm run -s partway -- keys create)'}`,
      `uploads: to ${formatSize(settings.PARTWAY_MAX_SIZE)}; unfinished ones expire after ${formatSpan(Math.min(settings.PARTWAY_UPLOAD_LIFETIME, settings.PARTWAY_STORE_KEEPS ?? core.store.keepsUnfinishedMs() ?? Number.POSITIVE_INFINITY))}`,
    ],
    stop: () => {
      stopped ??= owned.disposeAsync();
      return stopped;
    },
  };
}

/** What another process has to say to an attempt or a writer of this one. */
function hear({ attempts, records }: Deps, { kind, id }: AttemptNews): void {
  if (kind === 'yield') attempts.yield(id);
  else if (kind === 'reached') attempts.reached(id);
  else {
    const writer = attempts.find(id);
    // Who asked waits no longer than a moment in any case.
    if (writer === undefined) return;
    Promise.race([writer.checkpoint.request(), writer.ended])
      .then(() => records.tellCheckpoint(id))
      .catch(() => undefined);
  }
}

/** So long a pause in an upload, and what is held of it is read back when it is needed. */
const heldMs = 600_000;

function wrap<T>(port: T, wrapper: ((port: T) => T) | undefined): T {
  return wrapper === undefined ? port : wrapper(port);
}

const anonymous: Principal = {
  tenant: 'default',
  tenantKeyPrefix: '',
  scopes: new Set(scopes),
  bucket: undefined,
  keyPrefix: '',
};

async function startOwnPostgres(settings: Settings, log: Logger, started: AsyncDisposableStack): Promise<string> {
  const postgres = await startEmbeddedPostgres({
    dataDir: resolve(settings.PARTWAY_DATA_DIR),
    log: (line, level) => log[level](line),
  });
  started.defer(() => postgres.stop());
  return postgres.url;
}

function describeDatabase(databaseUrl: string): string {
  const { host, pathname } = new URL(databaseUrl);
  return `Postgres at ${host}${pathname}`;
}

async function listen(
  fetch: Parameters<typeof getRequestListener>[0],
  settings: Pick<Settings, 'PARTWAY_HOST' | 'PARTWAY_PORT'>,
): Promise<Server> {
  const server = createServer(
    {
      // The default of 300 s cuts every slow part; slow bodies have an idle timer of their own.
      requestTimeout: 0,
      headersTimeout: 60_000,
      // Longer than load balancers keep theirs (60 s is usual), so that they never write into a closed one.
      keepAliveTimeout: 75_000,
    },
    getRequestListener(fetch, { hostname: settings.PARTWAY_HOST, errorHandler: answerUnreadable }),
  );
  holdContinues(server);
  answerMalformedRequests(server);
  await new Promise<void>((done, fail) => {
    server.once('error', fail);
    server.listen(settings.PARTWAY_PORT, settings.PARTWAY_HOST, () => {
      server.off('error', fail);
      done();
    });
  });
  return server;
}

/** A request that could not be read, for its `Host` or its target. */
function answerUnreadable(): Response {
  return problemResponse({
    status: 400,
    requestId: newId(),
    body: { title: 'Invalid request', detail: 'Host or request target are not valid.', code: 'invalid_request' },
  });
}

function urlOf(server: Server, host: string): string {
  const { port } = server.address() as AddressInfo;
  return `http://${host.includes(':') ? `[${host}]` : host}:${port}`;
}

/** Parts under way may end until the grace is over; then their store calls are aborted, cleanly. */
async function closeServer(
  server: Server,
  core: Deps,
  { graceMs, stopping, halt }: { graceMs: number; stopping: AbortController; halt: AbortController },
): Promise<void> {
  stopping.abort();
  const closed = new Promise<void>((done) => server.close(() => done()));
  server.closeIdleConnections();
  const graceIsOver = new AbortController();
  await Promise.race([closed, sleep(graceMs, undefined, { signal: graceIsOver.signal }).catch(() => undefined)]);
  graceIsOver.abort();
  const reason = new UploadError('overloaded', 'The gateway is stopping. Try again.', { retryAfterSeconds: 1 });
  // What came of bodies under way is stored first, and who sent them is told.
  core.attempts.stopAll(reason);
  const composed = closed.then(() => core.compositions.whenIdle());
  await Promise.race([composed, sleep(keepingMs, undefined, { ref: false })]);
  halt.abort(reason);
  await Promise.race([
    Promise.all([core.attempts.whenEnded(), core.compositions.whenIdle(), core.joins.whenIdle()]),
    sleep(5_000, undefined, { ref: false }),
  ]);
  await Promise.race([closed, sleep(answeringMs, undefined, { ref: false })]);
  server.closeAllConnections();
  await closed;
}

/** How long a store may take for what is kept of bodies under way, when the gateway stops. */
const keepingMs = 5_000;
/** How long the last answers may take. */
const answeringMs = 500;

/** Why the store can't be used now, for people. */
async function faultOfStore(core: Deps): Promise<string | undefined> {
  try {
    await core.store.check(core.settings.defaultBucket, { signal: AbortSignal.timeout(5_000) });
    return undefined;
  } catch (error) {
    if (!(error instanceof StoreError)) return error instanceof Error ? error.message : String(error);
    const hint = error.kind === 'refused' ? ' (are bucket, access key and secret right?)' : '';
    return `${error.message}${hint}`;
  }
}
