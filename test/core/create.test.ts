import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type CreateInput, createUpload } from '../../src/core/create.ts';
import { UploadError } from '../../src/core/errors.ts';
import { StoreError } from '../../src/core/object-store.ts';
import { newId } from '../../src/core/random.ts';
import { Reaper } from '../../src/reaper/reaper.ts';
import { CoreUnderTest, codeOf, failureOf, principal } from './core-under-test.ts';

let core: CoreUnderTest;
beforeAll(async () => {
  core = await CoreUnderTest.open();
});
afterAll(() => core[Symbol.asyncDispose]());
afterEach(() => core.reset());

const noAnswer = () => new StoreError('unavailable', 'the line was cut');
const recordsGone = () => new UploadError('records_unavailable', 'gone');

async function rowOf(key: string): Promise<{ state: string; reason: string | null } | undefined> {
  const { rows } = await core.db.query('select state, reason from uploads where key = $1', [key]);
  return rows[0];
}

async function uploadsAtStore(key: string): Promise<number> {
  return (await Array.fromAsync(core.deps.store.listMultipartUploads({ bucket: core.bucket, key }))).length;
}

function createCalls(): number {
  return core.store.calls.filter((name) => name === 'createMultipartUpload').length;
}

describe('creating an upload', () => {
  it('is one call to the store, which is told the token that will prove the object', async () => {
    let told: unknown;
    core.store.next('createMultipartUpload', (proceed, input) => {
      told = input;
      return proceed();
    });
    const upload = await core.create({ key: 'a/b.txt', contentType: 'text/plain', metadata: { filename: 'b.txt' } });
    expect(core.store.calls.filter((name) => name !== 'keepsUnfinishedMs')).toEqual(['createMultipartUpload']);
    expect(told).toEqual({
      bucket: core.bucket,
      key: 'a/b.txt',
      contentType: 'text/plain',
      metadata: { filename: 'b.txt', 'partway-token': upload.token },
    });
    expect(upload.token).not.toBe(upload.id);
    expect(upload).toMatchObject({ state: 'open', key: 'a/b.txt', tenant: 'default', offset: 0, receivedBytes: 0 });
    expect(core.eventsOf('upload_created')).toEqual([{ type: 'upload_created', upload }]);
  });

  it("names the object where the client didn't, and puts it below its tenant's prefix", async () => {
    const tenant = { ...principal, tenant: 'acme', tenantKeyPrefix: 'acme/' };
    const upload = await core.create({ key: undefined, principal: tenant, metadata: { filename: '../x y.txt' } });
    expect(upload.key).toBe(`2026-11-23/${upload.id}/x_y.txt`);
    expect(upload.storeKey).toBe(`acme/${upload.key}`);
  });

  it('lives as long as it was asked to, as it may, and as the store keeps it', async () => {
    const { deps } = core;
    const lifetimeOf = async (input: Partial<CreateInput>, settings = {}) => {
      const changed = { ...deps, settings: { ...deps.settings, ...settings } };
      const upload = await createUpload(changed, { principal, protocol: 'rest', key: newId(), ...input });
      return (upload.expiresAt.getTime() - upload.createdAt.getTime()) / 1000;
    };
    expect(await lifetimeOf({ expiresInSeconds: 60 })).toBe(60);
    expect(await lifetimeOf({ expiresInSeconds: 10 ** 9 })).toBe(7 * 86_400);
    expect(await lifetimeOf({})).toBe(7 * 86_400);
    // From the store's answer on, which came a moment after the row.
    const kept = await lifetimeOf({}, { storeKeepsMs: 3_600_000 });
    expect(kept).toBeGreaterThanOrEqual(3600);
    expect(kept).toBeLessThan(7200);
  });
});

describe('what is refused before anything is written', () => {
  it.each<[string, Partial<CreateInput>, string]>([
    [
      'a digest of the whole that the parts do not give',
      { digest: { algorithm: 'md5', value: 'x' } },
      'invalid_request',
    ],
    ['a size beyond the limit', { sizeBytes: 6 * 1024 ** 4 }, 'limit_exceeded'],
    ['a part size in the free layout', { layout: 'free', partSizeBytes: 1024 }, 'invalid_request'],
    ['a part size that the store does not take', { sizeBytes: 10_000, partSizeBytes: 1023 }, 'invalid_request'],
    ['a part size that needs too many parts', { sizeBytes: 10_241_000, partSizeBytes: 1024 }, 'invalid_request'],
    ['another bucket', { bucket: 'elsewhere' }, 'forbidden'],
    ['a key of the gateway itself', { key: '.partway/x' }, 'invalid_request'],
    ['metadata that names the token', { metadata: { 'Partway-Token': 'mine' } }, 'invalid_request'],
    ['a key out of reach', { principal: { ...principal, keyPrefix: 'mine/' }, key: 'yours/x' }, 'forbidden'],
  ])('%s', async (_, input, code) => {
    expect(await codeOf(core.create({ partSizeBytes: undefined, ...input }))).toBe(code);
    expect(core.records.calls).toEqual([]);
    expect(core.store.calls).toEqual([]);
  });
});

describe('a store that does not create it', () => {
  it('closes the row, and the same key may be tried again', async () => {
    const input = { key: newId(), idempotencyKey: newId() };
    core.store.next('createMultipartUpload', async () => {
      throw new StoreError('refused', 'no such bucket');
    });
    expect(await codeOf(core.create(input))).toBe('store_refused');
    expect(await rowOf(input.key)).toEqual({ state: 'aborted', reason: 'not_created' });
    expect(core.eventsOf('upload_created')).toEqual([]);
    expect(core.eventsOf('store_failed')).toMatchObject([{ call: 'createMultipartUpload' }]);
    expect((await core.create(input)).state).toBe('open');
  });

  it('or may have: it is not looked for, and the next try has an upload of its own', async () => {
    const input = { key: newId(), idempotencyKey: newId() };
    core.store.next('createMultipartUpload', async (proceed) => {
      await proceed();
      throw noAnswer();
    });
    expect(await failureOf(core.create(input))).toMatchObject({ code: 'store_unavailable', retryAfterSeconds: 2 });
    expect(core.store.calls).toEqual(['createMultipartUpload']);
    expect((await core.create(input)).state).toBe('open');
    expect(await uploadsAtStore(input.key)).toBe(2);
  });

  it('while the records are away too leaves the row to the reaper', async () => {
    const input = { key: newId(), idempotencyKey: newId() };
    core.store.next('createMultipartUpload', async () => {
      throw noAnswer();
    });
    core.records.next('closeUncreated', async () => {
      throw recordsGone();
    });
    expect(await codeOf(core.create(input))).toBe('records_unavailable');
    expect(await codeOf(core.create(input))).toBe('busy');
    await core.db.query("update uploads set claim_until = now() - interval '1 second' where key = $1", [input.key]);
    await new Reaper(core.deps, { onFault: () => undefined, onBug: () => undefined }).round();
    expect((await core.create(input)).state).toBe('open');
  });
});

describe('a row that the reaper closed while the store was slow', () => {
  const closedMeanwhile = () =>
    core.store.next('createMultipartUpload', async (proceed) => {
      await core.db.query("update uploads set claim_until = now() - interval '1 second' where state = 'creating'");
      await new Reaper(core.deps, { onFault: () => undefined, onBug: () => undefined }).round();
      return proceed();
    });

  it('has its upload at the store aborted, which nobody else knows', async () => {
    const key = newId();
    closedMeanwhile();
    expect(await codeOf(core.create({ key }))).toBe('store_unavailable');
    expect(await uploadsAtStore(key)).toBe(0);
    expect(await rowOf(key)).toEqual({ state: 'aborted', reason: 'not_created' });
    expect(core.eventsOf('upload_created')).toEqual([]);
  });

  it('gets the same answer where that abort fails', async () => {
    const key = newId();
    closedMeanwhile();
    core.store.next('abortMultipartUpload', async () => {
      throw noAnswer();
    });
    expect(await codeOf(core.create({ key }))).toBe('store_unavailable');
    expect((await rowOf(key))?.state).toBe('aborted');
  });
});

describe('an idempotency key', () => {
  it('gets the same upload again, in whatever state it is', async () => {
    const input = { key: newId(), idempotencyKey: newId(), sizeBytes: 0 };
    const upload = await core.create(input);
    expect(await core.create(input)).toEqual(upload);
    expect(createCalls()).toBe(1);
    expect(core.eventsOf('upload_created')).toHaveLength(1);
    await core.complete(upload);
    expect(await core.create(input)).toMatchObject({ id: upload.id, state: 'completed' });
  });

  it('gets the same upload after the records lost their answer', async () => {
    const input = { key: newId(), idempotencyKey: newId() };
    core.records.next('open', async (proceed) => {
      await proceed();
      throw recordsGone();
    });
    expect(await codeOf(core.create(input))).toBe('records_unavailable');
    expect((await core.create(input)).state).toBe('open');
    expect(await uploadsAtStore(input.key)).toBe(1);
  });

  it('gets one upload, however many ask at once', async () => {
    const input = { key: newId(), idempotencyKey: newId() };
    const outcomes = await Promise.allSettled([...Array(8).keys()].map(() => core.create(input)));
    const made = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value.id] : []));
    expect(new Set(made).size).toBe(1);
    for (const outcome of outcomes) {
      if (outcome.status === 'rejected') expect(outcome.reason).toMatchObject({ code: 'busy', retryAfterSeconds: 1 });
    }
    expect(createCalls()).toBe(1);
    expect(await uploadsAtStore(input.key)).toBe(1);
  });

  it('knows a request again whose members come in another order', async () => {
    const [key, idempotencyKey] = [newId(), newId()];
    const upload = await core.create({ key, idempotencyKey, sizeBytes: 5, metadata: { a: '1', b: '2' } });
    const same = { metadata: { b: '2', a: '1' }, contentType: undefined, sizeBytes: 5, idempotencyKey, key };
    expect((await core.create(same)).id).toBe(upload.id);
  });

  it.each<[string, Partial<CreateInput>]>([
    ['size', { sizeBytes: 6 }],
    ['key', { key: 'another' }],
    ['metadata', { metadata: { a: '2' } }],
    ['condition', { ifNoneMatch: true }],
    ['lifetime', { expiresInSeconds: 60 }],
  ])('is refused for a request with another %s', async (_, changes) => {
    const input = { key: newId(), idempotencyKey: newId(), sizeBytes: 5, metadata: { a: '1' } };
    await core.create(input);
    expect(await codeOf(core.create({ ...input, ...changes }))).toBe('idempotency_conflict');
    expect(createCalls()).toBe(1);
  });

  it('shows nobody of the tenant an upload that is out of reach', async () => {
    const settings = { ...core.deps.settings, buckets: new Set([core.bucket, 'second']) };
    const input = { protocol: 'rest', key: newId(), idempotencyKey: newId() } as const;
    const createIn = (bucket: string) =>
      createUpload({ ...core.deps, settings }, { ...input, principal: { ...principal, bucket } });
    expect((await createIn(core.bucket)).bucket).toBe(core.bucket);
    expect(await codeOf(createIn('second'))).toBe('idempotency_conflict');
  });
});
