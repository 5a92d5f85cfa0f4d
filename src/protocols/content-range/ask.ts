import { completeWhole } from '../../core/complete-whole.ts';
import type { Principal } from '../../core/principal.ts';
import { tellSize } from '../../core/tell-size.ts';
import type { Upload } from '../../core/upload.ts';
import type { ContentRangeDeps } from './front.ts';

/**
 * `bytes *\/TOTAL`: where to go on. One that is whole is told once the store has made its object; `bytes *\/*` only asks, and
 * completes nothing.
 */
export function ask(
  { core }: Pick<ContentRangeDeps, 'core'>,
  { principal, upload, totalBytes }: { principal: Principal; upload: Upload; totalBytes: number | undefined },
): Upload | Promise<Upload> {
  if (upload.state === 'completing') return completeWhole(core, { principal, upload });
  if (totalBytes === undefined || upload.state !== 'open') return upload;
  return tellSize(core, { principal, upload, totalBytes, completes: true });
}
