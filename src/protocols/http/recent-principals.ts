import type { Principal } from '../../core/principal.ts';
import type { FindPrincipal } from './authentication.ts';

/** How long a revoked key may still be taken. */
const rememberedMs = 5_000;
const mostRemembered = 1000;

/** Spares the records one look-up for each chunk. Only keys that were found are remembered. */
export function rememberPrincipals(find: FindPrincipal, now: () => number): FindPrincipal {
  const recent = new Map<string, { principal: Principal; until: number }>();
  return async (secret) => {
    const known = recent.get(secret);
    if (known !== undefined && known.until > now()) return known.principal;
    recent.delete(secret);
    const principal = await find(secret);
    if (principal === undefined) return undefined;
    if (recent.size >= mostRemembered) recent.clear();
    recent.set(secret, { principal, until: now() + rememberedMs });
    return principal;
  };
}
