import type { MiddlewareHandler } from 'hono';
import type { Deps } from '../../core/deps.ts';
import type { RecentUploads } from '../../core/recent-uploads.ts';
import type { Admission } from '../http/admission.ts';
import type { HttpEnv } from '../http/env.ts';

export const tusPath = '/files';

/** What the routes of tus work with. */
export interface TusDeps {
  readonly core: Deps;
  readonly admission: Admission;
  readonly authenticate: MiddlewareHandler<HttpEnv>;
  /** The URL that clients use. Unset: links are relative. */
  readonly publicUrl: string | undefined;
  /** What uploads were last seen to be: one PATCH in many needs a look-up. */
  readonly recent: RecentUploads;
}
