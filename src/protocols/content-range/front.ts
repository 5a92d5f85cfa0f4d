import type { Deps } from '../../core/deps.ts';
import type { RecentUploads } from '../../core/recent-uploads.ts';
import type { Admission } from '../http/admission.ts';

/** What the routes of this front work with. */
export interface ContentRangeDeps {
  readonly core: Deps;
  readonly admission: Admission;
  readonly recent: RecentUploads;
  /** A first chunk that differs supersedes an upload that nobody has written to for so long. */
  readonly supersedeAfterMs: number;
}
