import { createHash, randomBytes } from 'node:crypto';
import { UploadError } from '../core/errors.ts';
import { type Principal, type Scope, scopes } from '../core/principal.ts';
import type { Connection } from './connection.ts';
import { and, asc, eq, isNull, sql } from './drizzle.ts';
import { apiKeys, tenants } from './schema.ts';

/** Tells a leaked key from other secrets; scanners look for it. */
const keyPrefix = 'partway_';

export interface NewApiKey {
  readonly tenant: string;
  /** Where the tenant's objects live. Kept from the tenant's first key on. */
  readonly tenantKeyPrefix: string | undefined;
  readonly name: string;
  readonly scopes: readonly Scope[];
  readonly bucket: string | undefined;
  readonly keyPrefix: string;
  /** Keys under it are the gateway's own. */
  readonly stagingPrefix: string;
}

export interface ApiKey {
  readonly id: string;
  readonly tenant: string;
  readonly tenantKeyPrefix: string;
  readonly name: string;
  readonly scopes: readonly string[];
  readonly bucket: string | undefined;
  readonly keyPrefix: string;
  readonly createdAt: Date;
  readonly revokedAt: Date | undefined;
}

/** Makes a key. Its text is returned here and never again: only its hash is stored. */
export function createApiKey(connection: Connection, key: NewApiKey): Promise<{ key: ApiKey; secret: string }> {
  return connection.transaction(async (tx) => {
    await tx.execute('lock table tenants in share row exclusive mode');
    const all = await tx.select().from(tenants);
    const living = new Set(
      (await tx.selectDistinct({ tenant: apiKeys.tenant }).from(apiKeys).where(isNull(apiKeys.revokedAt))).map(
        (row) => row.tenant,
      ),
    );
    const known = all.find(({ name }) => name === key.tenant);
    const tenantKeyPrefix = key.tenantKeyPrefix ?? known?.keyPrefix ?? `${key.tenant}/`;
    if (known !== undefined && known.keyPrefix !== tenantKeyPrefix) {
      throw new UploadError('invalid_request', `Tenant ${key.tenant} has the prefix "${known.keyPrefix}" already.`);
    }
    requireOutside(key.stagingPrefix, tenantKeyPrefix + key.keyPrefix);
    requireApart(
      tenantKeyPrefix,
      all.filter(({ name }) => name !== key.tenant && living.has(name)),
    );
    if (known === undefined) await tx.insert(tenants).values({ name: key.tenant, keyPrefix: tenantKeyPrefix });
    const secret = keyPrefix + randomBytes(32).toString('base64url');
    const [row] = await tx
      .insert(apiKeys)
      .values({
        id: randomBytes(6).toString('hex'),
        tenant: key.tenant,
        keyHash: hashOf(secret),
        name: key.name,
        scopes: [...key.scopes],
        bucket: key.bucket,
        keyPrefix: key.keyPrefix,
      })
      .returning();
    if (row === undefined) throw new Error('api keys: insert returned no row');
    return { key: toApiKey(row, tenantKeyPrefix), secret };
  });
}

function requireOutside(stagingPrefix: string, prefix: string): void {
  if (!prefix.startsWith(stagingPrefix)) return;
  throw new UploadError(
    'invalid_request',
    `The prefix "${prefix}" is the gateway's own (PARTWAY_STAGING_PREFIX is "${stagingPrefix}"). Choose another with --tenant-prefix.`,
  );
}

/** No tenant's keys may begin with another's prefix; an empty prefix holds all keys. */
function requireApart(prefix: string, others: readonly { name: string; keyPrefix: string }[]): void {
  const clash = others.find((other) => other.keyPrefix.startsWith(prefix) || prefix.startsWith(other.keyPrefix));
  if (clash === undefined) return;
  throw new UploadError(
    'invalid_request',
    `The prefix "${prefix}" is not apart from "${clash.keyPrefix}" of tenant ${clash.name}. Choose another with --tenant-prefix.`,
  );
}

export function listApiKeys(connection: Connection): Promise<ApiKey[]> {
  return connection.run(async (db) => {
    const rows = await db
      .select({ key: apiKeys, tenantKeyPrefix: tenants.keyPrefix })
      .from(apiKeys)
      .innerJoin(tenants, eq(tenants.name, apiKeys.tenant))
      .orderBy(asc(apiKeys.createdAt));
    return rows.map(({ key, tenantKeyPrefix }) => toApiKey(key, tenantKeyPrefix));
  });
}

/** Keeps the time at which it was revoked first. `false` when there is no such key. */
export function revokeApiKey(connection: Connection, id: string): Promise<boolean> {
  return connection.run(async (db) => {
    const revoked = await db
      .update(apiKeys)
      .set({ revokedAt: sql`coalesce(${apiKeys.revokedAt}, now())` })
      .where(eq(apiKeys.id, id))
      .returning({ id: apiKeys.id });
    return revoked.length === 1;
  });
}

/** Whose key this is; `undefined` when it is unknown or revoked. */
export function findPrincipal(connection: Connection, secret: string): Promise<Principal | undefined> {
  return connection.run(async (db) => {
    const [row] = await db
      .select({ key: apiKeys, tenantKeyPrefix: tenants.keyPrefix })
      .from(apiKeys)
      .innerJoin(tenants, eq(tenants.name, apiKeys.tenant))
      .where(and(eq(apiKeys.keyHash, hashOf(secret)), isNull(apiKeys.revokedAt)));
    if (row === undefined) return undefined;
    return {
      tenant: row.key.tenant,
      tenantKeyPrefix: row.tenantKeyPrefix,
      scopes: new Set(scopes.filter((scope) => row.key.scopes.includes(scope))),
      bucket: row.key.bucket ?? undefined,
      keyPrefix: row.key.keyPrefix,
    };
  });
}

function hashOf(secret: string): Buffer {
  return createHash('sha256').update(secret).digest();
}

function toApiKey(row: typeof apiKeys.$inferSelect, tenantKeyPrefix: string): ApiKey {
  return {
    id: row.id,
    tenant: row.tenant,
    tenantKeyPrefix,
    name: row.name,
    scopes: row.scopes,
    bucket: row.bucket ?? undefined,
    keyPrefix: row.keyPrefix,
    createdAt: row.createdAt,
    revokedAt: row.revokedAt ?? undefined,
  };
}
