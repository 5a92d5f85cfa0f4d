import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { scopes } from '../../src/core/principal.ts';
import { createApiKey, findPrincipal, listApiKeys, type NewApiKey, revokeApiKey } from '../../src/db/api-keys.ts';
import { Connection } from '../../src/db/connection.ts';
import { createTestDatabase, type TestDatabase } from '../support/postgres.ts';
import { newName } from './records-under-test.ts';

let database: TestDatabase;
let connection: Connection;
beforeAll(async () => {
  database = await createTestDatabase();
  connection = new Connection({ url: database.url, onIdleError: () => undefined });
});
afterAll(async () => {
  await connection.close();
  await database.drop();
});

function create(changes: Partial<NewApiKey> = {}) {
  return createApiKey(connection, {
    tenant: newName(),
    tenantKeyPrefix: undefined,
    name: '',
    scopes,
    bucket: undefined,
    keyPrefix: '',
    stagingPrefix: '.partway/',
    ...changes,
  });
}

describe('an API key', () => {
  it('opens what it was made for', async () => {
    const tenant = newName();
    const { secret } = await create({ tenant, scopes: ['uploads:read'], bucket: 'only', keyPrefix: 'below/' });
    expect(await findPrincipal(connection, secret)).toEqual({
      tenant,
      tenantKeyPrefix: `${tenant}/`,
      scopes: new Set(['uploads:read']),
      bucket: 'only',
      keyPrefix: 'below/',
    });
  });

  it('is 32 random bytes behind a prefix, and stored only as a hash', async () => {
    const { secret, key } = await create();
    expect(secret).toMatch(/^partway_[A-Za-z0-9_-]{43}$/);
    expect((await create()).secret).not.toBe(secret);
    const { rows } = await connection.pool.query(
      'select api_keys::text as row, length(key_hash) as size from api_keys',
    );
    expect(rows.every(({ row, size }) => size === 32 && !row.includes(secret))).toBe(true);
    expect(JSON.stringify([key, await listApiKeys(connection)])).not.toContain(secret);
  });

  it.each(['', 'partway_', 'partway_guessed', "' or true --"])('is not %j', async (secret) => {
    expect(await findPrincipal(connection, secret)).toBeUndefined();
  });

  it('opens nothing once it is revoked, and the others of its tenant still do', async () => {
    const tenant = newName();
    const [gone, kept] = [await create({ tenant }), await create({ tenant })];
    expect(await revokeApiKey(connection, gone.key.id)).toBe(true);
    expect(await findPrincipal(connection, gone.secret)).toBeUndefined();
    expect(await findPrincipal(connection, kept.secret)).toMatchObject({ tenant });
    expect(await revokeApiKey(connection, 'nobody')).toBe(false);
  });

  it('keeps the time at which it was first revoked', async () => {
    const { key } = await create();
    await revokeApiKey(connection, key.id);
    const revokedAt = async () => (await listApiKeys(connection)).find(({ id }) => id === key.id)?.revokedAt;
    await connection.pool.query("update api_keys set revoked_at = now() - interval '1 day' where id = $1", [key.id]);
    const first = await revokedAt();
    expect(await revokeApiKey(connection, key.id)).toBe(true);
    expect(await revokedAt()).toEqual(first);
  });

  it('is listed in the order of creation, revoked ones too', async () => {
    const tenant = newName();
    const [first, second] = [await create({ tenant, name: 'first' }), await create({ tenant, name: 'second' })];
    await revokeApiKey(connection, first.key.id);
    const listed = (await listApiKeys(connection)).filter((key) => key.tenant === tenant);
    expect(listed).toEqual([{ ...first.key, revokedAt: expect.any(Date) }, second.key]);
  });

  it('gives no scope that this version does not know', async () => {
    const { secret, key } = await create();
    await connection.pool.query("update api_keys set scopes = '{uploads:read,everything}' where id = $1", [key.id]);
    expect((await findPrincipal(connection, secret))?.scopes).toEqual(new Set(['uploads:read']));
  });
});

describe("a tenant's prefix", () => {
  it('stays what it was with the first key', async () => {
    const tenant = newName();
    await create({ tenant, tenantKeyPrefix: `${tenant}-home/` });
    expect((await create({ tenant })).key.tenantKeyPrefix).toBe(`${tenant}-home/`);
    await expect(create({ tenant, tenantKeyPrefix: `${tenant}-other/` })).rejects.toMatchObject({
      code: 'invalid_request',
      message: `Tenant ${tenant} has the prefix "${tenant}-home/" already.`,
    });
  });

  it.each([
    ['the same', 'a/', 'a/'],
    ['inside', 'a/', 'a/b/'],
    ['around', 'a/b/', 'a/'],
    ['all keys', 'a/', ''],
  ])('is refused where it is %s', async (_, taken, wanted) => {
    const root = newName();
    const [owner, other] = [newName(), newName()];
    await create({ tenant: owner, tenantKeyPrefix: `${root}/${taken}` });
    const prefix = wanted === '' ? '' : `${root}/${wanted}`;
    await expect(create({ tenant: other, tenantKeyPrefix: prefix })).rejects.toMatchObject({
      code: 'invalid_request',
      message: expect.stringContaining(wanted === '' ? 'is not apart from' : `of tenant ${owner}`),
    });
    expect((await listApiKeys(connection)).filter(({ tenant }) => tenant === other)).toEqual([]);
    expect(await create({ tenant: other })).toMatchObject({ key: { tenantKeyPrefix: `${other}/` } });
  });

  it.each([
    ['.partway/', ''],
    ['.partway/in/', ''],
    ['', '.partway/in/'],
  ])("is refused where it is the gateway's own: %j and %j", async (tenantKeyPrefix, keyPrefix) => {
    const tenant = newName();
    await expect(create({ tenant, tenantKeyPrefix, keyPrefix })).rejects.toMatchObject({
      code: 'invalid_request',
      message: expect.stringContaining(`The prefix "${tenantKeyPrefix}${keyPrefix}" is the gateway's own`),
    });
    expect((await listApiKeys(connection)).filter((key) => key.tenant === tenant)).toEqual([]);
  });

  it("is refused where it is the tenant's name and the gateway's own", async () => {
    const tenant = newName();
    await expect(create({ tenant, stagingPrefix: `${tenant}/` })).rejects.toMatchObject({ code: 'invalid_request' });
    expect(await create({ tenant, stagingPrefix: `${tenant}-2/` })).toMatchObject({ key: { tenant } });
  });

  it('is free where only the beginning of a name is the same', async () => {
    const root = newName();
    await create({ tenantKeyPrefix: `${root}/` });
    expect((await create({ tenantKeyPrefix: `${root}-2/` })).key.tenantKeyPrefix).toBe(`${root}-2/`);
  });

  it('is free once all keys of its tenant are revoked, and taken back by nobody then', async () => {
    const root = newName();
    const [old, next] = [newName(), newName()];
    const { key } = await create({ tenant: old, tenantKeyPrefix: `${root}/` });
    await revokeApiKey(connection, key.id);
    await create({ tenant: next, tenantKeyPrefix: `${root}/` });
    await expect(create({ tenant: old })).rejects.toMatchObject({ code: 'invalid_request' });
  });

  it('goes to one of two that ask for it at once', async () => {
    for (let round = 0; round < 10; round++) {
      const root = newName();
      const asked = [`${root}/`, `${root}/inside/`].map((tenantKeyPrefix) => create({ tenantKeyPrefix }));
      const outcomes = await Promise.allSettled(asked);
      expect(outcomes.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
    }
  });

  it('is the same for two first keys of a tenant that are made at once', async () => {
    const tenant = newName();
    const keys = await Promise.all([create({ tenant }), create({ tenant })]);
    expect(keys.map(({ key }) => key.tenantKeyPrefix)).toEqual([`${tenant}/`, `${tenant}/`]);
  });
});
