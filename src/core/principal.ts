import { UploadError } from './errors.ts';

export const scopes = ['uploads:write', 'uploads:read', 'objects:read'] as const;
export type Scope = (typeof scopes)[number];

/** Who calls, and what they may do. */
export interface Principal {
  readonly tenant: string;
  /** Every key of the tenant begins with it at the store. Empty only where there is one tenant. */
  readonly tenantKeyPrefix: string;
  readonly scopes: ReadonlySet<Scope>;
  /** The one bucket that may be used; any allowed one where unset. */
  readonly bucket: string | undefined;
  /** Keys, as the client names them, must begin with it. */
  readonly keyPrefix: string;
}

/** Whoever may go on with this one upload, and do nothing else. */
export function ownerOf(upload: {
  readonly tenant: string;
  readonly bucket: string;
  readonly key: string;
  readonly storeKey: string;
}): Principal {
  return {
    tenant: upload.tenant,
    tenantKeyPrefix: upload.storeKey.slice(0, -upload.key.length),
    scopes: new Set(['uploads:write']),
    bucket: upload.bucket,
    keyPrefix: upload.key,
  };
}

/** @throws UploadError `forbidden` */
export function requireScope(principal: Principal, scope: Scope): void {
  if (principal.scopes.has(scope)) return;
  throw new UploadError('forbidden', `This needs a key with the scope ${scope}.`, { details: { scope } });
}

export function mayUse(principal: Principal, place: { readonly bucket: string; readonly key: string }): boolean {
  return (
    (principal.bucket === undefined || principal.bucket === place.bucket) && place.key.startsWith(principal.keyPrefix)
  );
}
