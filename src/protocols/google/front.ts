import type { MiddlewareHandler } from 'hono';
import type { Deps } from '../../core/deps.ts';
import type { RecentUploads } from '../../core/recent-uploads.ts';
import type { Admission } from '../http/admission.ts';
import type { HttpEnv } from '../http/env.ts';
import type { RecentDigests } from './recent-digests.ts';

/** Where objects are uploaded, in the JSON API of Cloud Storage. */
export const uploadPath = '/upload/storage/v1/b/:bucket/o';

/** What the routes of Google's protocol work with. */
export interface GoogleDeps {
  readonly core: Deps;
  readonly admission: Admission;
  readonly authenticate: MiddlewareHandler<HttpEnv>;
  /** The URL that clients use; where it is unset they are told the one that they used. */
  readonly publicUrl: string | undefined;
  readonly digests: RecentDigests;
  /** What sessions were last seen to be: one chunk in many needs a look-up. */
  readonly recent: RecentUploads;
}
