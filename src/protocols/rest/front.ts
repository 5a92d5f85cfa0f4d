import { OpenAPIHono } from '@hono/zod-openapi';
import type { Context, MiddlewareHandler } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import type { Deps } from '../../core/deps.ts';
import { UploadError } from '../../core/errors.ts';
import type { Admission } from '../http/admission.ts';
import { sendContinue } from '../http/continue.ts';
import type { HttpEnv } from '../http/env.ts';
import { hasBody } from '../http/raw-body.ts';

/** What the REST routes work with. */
export interface RestDeps {
  readonly core: Deps;
  readonly admission: Admission;
  /** The URL that clients use; unset: what the request was sent to. */
  readonly publicUrl: string | undefined;
}

/** 10,000 parts with their ETags and checksums fit. */
const largestJsonBytes = 4 * 1024 * 1024;

/** An app whose routes refuse what their schemas do not allow, with every fault named. */
export function createRestApp(): OpenAPIHono<HttpEnv> {
  return new OpenAPIHono<HttpEnv>({
    defaultHook: (result) => {
      if (result.success) return;
      const faults = result.error.issues.map(({ path, message }) => ({ field: path.join('.'), message }));
      throw new UploadError('invalid_request', describe(faults), { details: { faults: faults.slice(0, 20) } });
    },
  });
}

function describe(faults: readonly { field: string; message: string }[]): string {
  const [first] = faults;
  if (first === undefined) return 'The request is not valid.';
  return first.field === '' ? `${first.message}.` : `${first.field}: ${first.message}.`;
}

/** For routes with a JSON body: bounded, and asked for where the client waits. */
export const jsonBody: MiddlewareHandler<HttpEnv>[] = [
  bodyLimit({
    maxSize: largestJsonBytes,
    onError: () => {
      throw new UploadError('limit_exceeded', `A JSON body may have ${largestJsonBytes} bytes at most.`);
    },
  }),
  async (c, next) => {
    // Also keeps web pages from writing: a cross-origin request with this type asks first.
    const isJson = /^application\/(json|[a-z0-9.-]+\+json)\s*(;|$)/i.test(c.req.header('content-type') ?? '');
    if (hasBody(c.env.incoming) && !isJson) {
      throw new UploadError('invalid_request', 'Send JSON, with Content-Type: application/json.', {
        details: { field: 'Content-Type' },
      });
    }
    sendContinue(c.env.incoming);
    await next();
  },
];

export function publicUrlOf(c: Context<HttpEnv>, deps: RestDeps): string {
  return (deps.publicUrl ?? new URL(c.req.url).origin).replace(/\/$/, '');
}
