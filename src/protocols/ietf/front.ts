import type { MiddlewareHandler } from 'hono';
import type { Deps } from '../../core/deps.ts';
import type { Admission } from '../http/admission.ts';
import type { HttpEnv } from '../http/env.ts';

/** Where upload resources are. */
export const resourcePath = '/resumable';

/** What the routes of resumable uploads work with. */
export interface IetfDeps {
  readonly core: Deps;
  readonly admission: Admission;
  readonly authenticate: MiddlewareHandler<HttpEnv>;
  /** The URL that clients use; where it is unset they are told the one that they used. */
  readonly publicUrl: string | undefined;
}
