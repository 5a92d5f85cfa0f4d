import type { MiddlewareHandler } from 'hono';
import { UploadError } from '../../core/errors.ts';
import type { Principal } from '../../core/principal.ts';
import type { HttpEnv } from './env.ts';

/** Finds who a secret belongs to; `undefined` for nobody. */
export type FindPrincipal = (secret: string) => Promise<Principal | undefined>;

/** Sets the principal of every request, or refuses it. Without `find` everybody is `anonymous`. */
export function authenticate(
  options: { readonly anonymous: Principal } | { readonly find: FindPrincipal },
): MiddlewareHandler<HttpEnv> {
  return async (c, next) => {
    c.set(
      'principal',
      'find' in options ? await identify(c.req.header('authorization'), options.find) : options.anonymous,
    );
    await next();
  };
}

async function identify(authorization: string | undefined, find: FindPrincipal): Promise<Principal> {
  if (authorization === undefined) {
    throw new UploadError('unauthorized', 'Send an API key: Authorization: Bearer …, or as the password of Basic.');
  }
  const secret = secretOf(authorization);
  const principal = secret === undefined ? undefined : await find(secret);
  if (principal !== undefined) return principal;
  throw new UploadError('unauthorized', 'This API key is not valid.');
}

/** RFC 6750, section 2.1; RFC 7617, section 2: with Basic the key is the password, whoever the user. */
function secretOf(authorization: string): string | undefined {
  const [, scheme = '', credentials = ''] = /^(\S+) +(\S+)$/.exec(authorization.trim()) ?? [];
  if (scheme.toLowerCase() === 'bearer') return credentials;
  if (scheme.toLowerCase() !== 'basic') return undefined;
  const pair = Buffer.from(credentials, 'base64').toString('utf8');
  return pair.includes(':') ? pair.slice(pair.indexOf(':') + 1) : undefined;
}
