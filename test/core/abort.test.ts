import { randomBytes } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { abortUpload } from '../../src/core/abort.ts';
import { UploadError } from '../../src/core/errors.ts';
import { StoreError } from '../../src/core/object-store.ts';
import { newId } from '../../src/core/random.ts';
import type { Upload } from '../../src/core/upload.ts';
import { CoreUnderTest, codeOf, failureOf, principal } from './core-under-test.ts';

let core: CoreUnderTest;
beforeAll(async () => {
  core = await CoreUnderTest.open();
});
afterAll(() => core[Symbol.asyncDispose]());
afterEach(() => core.reset());

const noAnswer = () => new StoreError('unavailable', 'the line was cut');

function abort(upload: Upload, deps = core.deps): Promise<void> {
  return abortUpload(deps, principal, upload.id);
}

async function isAtStore(upload: Upload): Promise<boolean> {
  const address = { bucket: upload.bucket, key: upload.storeKey };
  return (await Array.fromAsync(core.deps.store.listMultipartUploads(address))).length > 0;
}

function abortCalls(): number {
  return core.store.calls.filter((name) => name === 'abortMultipartUpload').length;
}

describe('aborting an upload', () => {
  it('ends it at the store and in the records, and leaves no object', async () => {
    const { upload } = await core.uploaded(2);
    await abort(upload);
    expect(await core.find(upload)).toMatchObject({ state: 'aborted', reason: 'requested' });
    expect(await isAtStore(upload)).toBe(false);
    expect(await core.objectOf(upload)).toBeUndefined();
    expect(core.eventsOf('upload_aborted')).toHaveLength(1);
    expect(core.clock.runningTimers).toBe(0);
  });

  it('is the same a second time, without a call to the store', async () => {
    const upload = await core.create();
    await abort(upload);
    core.store.calls.length = 0;
    await abort(upload);
    expect(core.store.calls).toEqual([]);
    expect(core.eventsOf('upload_aborted')).toHaveLength(1);
  });

  it('takes no part from then on', async () => {
    const upload = await core.create();
    await abort(upload);
    const failure = await failureOf(core.put(upload, 1, randomBytes(3)));
    expect(failure).toMatchObject({ code: 'upload_gone', details: { reason: 'requested' } });
    expect(await failureOf(core.complete(upload))).toMatchObject({ code: 'upload_gone' });
  });

  it('succeeds where the store has dropped it already', async () => {
    const upload = await core.create();
    const { bucket, storeKey: key } = upload;
    await core.deps.store.abortMultipartUpload({ bucket, key, storeUploadId: upload.storeUploadId! });
    await abort(upload);
    expect((await core.find(upload)).state).toBe('aborted');
  });

  it("is not another's to do", async () => {
    const upload = await core.create();
    const stranger = { ...principal, tenant: 'another' };
    expect(await codeOf(abortUpload(core.deps, stranger, upload.id))).toBe('upload_not_found');
    const elsewhere = { ...principal, keyPrefix: 'elsewhere/' };
    expect(await codeOf(abortUpload(core.deps, elsewhere, upload.id))).toBe('upload_not_found');
    expect((await core.find(upload)).state).toBe('open');
  });
});

describe('an upload that is past aborting', () => {
  it('keeps its object when it is completed', async () => {
    const { upload, content } = await core.uploaded(1);
    await core.complete(upload);
    expect(await failureOf(abort(upload))).toMatchObject({
      code: 'state_conflict',
      details: { uploadState: 'completed' },
    });
    expect((await core.objectOf(upload))?.equals(content)).toBe(true);
    expect(abortCalls()).toBe(0);
  });

  it('is not touched while it completes, also where the claim ran out', async () => {
    const { upload } = await core.uploaded(1);
    await core.deps.records.claimCompletion({ id: upload.id, claimId: newId(), leaseMs: 0 });
    expect(await failureOf(abort(upload))).toMatchObject({ code: 'busy', details: { uploadState: 'completing' } });
    expect((await core.find(upload)).state).toBe('completing');
    expect(abortCalls()).toBe(0);
  });

  it('is not there yet while it is created', async () => {
    core.store.next('createMultipartUpload', async (proceed) => {
      const { rows } = await core.db.query("select id from uploads where state = 'creating'");
      expect(await codeOf(abortUpload(core.deps, principal, rows[0].id))).toBe('busy');
      return proceed();
    });
    expect((await core.create()).state).toBe('open');
  });
});

describe('a store that still lists the upload', () => {
  it('is told again until it does not', async () => {
    const upload = await core.create();
    core.store.next('abortMultipartUpload', ...Array(3).fill(async () => undefined));
    await abort(upload);
    expect(abortCalls()).toBe(4);
    expect(core.clock.slept).toEqual([200, 400, 600]);
    expect((await core.find(upload)).state).toBe('aborted');
    expect(await isAtStore(upload)).toBe(false);
  });

  it('for too long leaves it aborting, for the next to go on', async () => {
    const upload = await core.create();
    core.store.always('abortMultipartUpload', async () => undefined);
    expect(await codeOf(abort(upload))).toBe('store_unavailable');
    expect(abortCalls()).toBe(5);
    expect((await core.find(upload)).state).toBe('aborting');
    core.reset();
    await abort(upload);
    expect(await core.find(upload)).toMatchObject({ state: 'aborted', reason: 'requested' });
    expect(await isAtStore(upload)).toBe(false);
  });
});

describe('a store that does not answer', () => {
  it.each(['abortMultipartUpload', 'listParts'] as const)(
    '%s leaves it aborting, and a repeat ends it',
    async (name) => {
      const upload = await core.create();
      core.store.next(name, () => {
        throw noAnswer();
      });
      expect(await codeOf(abort(upload))).toBe('store_unavailable');
      expect(await core.find(upload)).toMatchObject({ state: 'aborting', reason: 'requested' });
      expect(core.eventsOf('upload_aborted')).toEqual([]);
      await abort(upload);
      expect((await core.find(upload)).state).toBe('aborted');
    },
  );
});

describe('two who abort', () => {
  it('both succeed, and one of them does it', async () => {
    const upload = await core.create();
    core.store.next('abortMultipartUpload', async (proceed) => {
      await abort(upload, core.elsewhere());
      return proceed();
    });
    await abort(upload);
    expect(abortCalls()).toBe(1);
    expect(core.eventsOf('upload_aborted')).toHaveLength(1);
  });

  it('end it once also where the second took over from the first, who comes back', async () => {
    const upload = await core.create();
    core.store.next('abortMultipartUpload', async (proceed) => {
      await core.expireClaim(upload);
      await abort(upload, core.elsewhere());
      return proceed();
    });
    await abort(upload);
    expect(core.eventsOf('upload_aborted')).toHaveLength(1);
    expect((await core.find(upload)).state).toBe('aborted');
  });

  it('stop the first as soon as it learns that its claim is lost', async () => {
    const upload = await core.create();
    core.store.next('abortMultipartUpload', async (_proceed, _input, options) => {
      await core.expireClaim(upload);
      await core.deps.records.takeClaim({ id: upload.id, claimId: newId(), leaseMs: 60_000 });
      core.clock.advance(core.deps.settings.leaseMs / 3);
      const { signal } = options!;
      await new Promise((resolve) => signal!.addEventListener('abort', resolve, { once: true }));
      throw signal!.reason;
    });
    expect(await codeOf(abort(upload))).toBe('busy');
    expect((await core.find(upload)).state).toBe('aborting');
  });
});

it('ends with the process', async () => {
  const upload = await core.create();
  const halt = new AbortController();
  core.store.always('abortMultipartUpload', async () => {
    halt.abort(new UploadError('overloaded', 'the gateway ends'));
  });
  expect(await codeOf(abort(upload, { ...core.deps, halted: halt.signal }))).toBe('overloaded');
  expect((await core.find(upload)).state).toBe('aborting');
  core.reset();
  await abort(upload);
  expect((await core.find(upload)).state).toBe('aborted');
});
