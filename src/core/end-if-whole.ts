import { abortUpload } from './abort.ts';
import type { Deps } from './deps.ts';
import { findUpload } from './find.ts';
import { isWhole } from './is-whole.ts';
import type { Principal } from './principal.ts';

/** Of an upload whose bytes are known to be wrong: where they are all there, nobody can go on with it, and it ends. */
export async function endIfWhole(deps: Deps, principal: Principal, uploadId: string): Promise<void> {
  const now = await findUpload(deps, principal, uploadId);
  if (now.state === 'open' && isWhole(now)) await abortUpload(deps, principal, uploadId);
}
