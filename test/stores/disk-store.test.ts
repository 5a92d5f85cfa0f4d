import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { MultipartAddress, ObjectStore } from '../../src/core/object-store.ts';
import { createDiskStore } from '../../src/stores/disk/disk-store.ts';

const limits = {
  minPartSizeBytes: 10,
  maxPartSizeBytes: 1_000_000,
  maxParts: 10_000,
  maxObjectSizeBytes: 1_500_000,
  equalParts: false,
};

describe('the disk store', () => {
  let root: string;
  let store: ObjectStore;

  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'partway-disk-store-'));
    store = createDiskStore({ root, limits });
  });

  afterEach(async () => {
    vi.restoreAllMocks();
    await rm(root, { recursive: true, force: true });
  });

  const place = { bucket: 'bucket', key: 'a/key' };

  const open = async (key = place.key): Promise<MultipartAddress> => {
    const target = { ...place, key };
    return { ...target, ...(await store.createMultipartUpload({ ...target, metadata: {} })) };
  };

  const send = async (upload: MultipartAddress, partNumber: number, body: Buffer, to = store) => {
    const { etag } = await to.uploadPart({ ...upload, partNumber, body, sizeBytes: body.length });
    return { partNumber, etag };
  };

  const put = (body: Buffer, key = place.key) => store.putObject({ ...place, key, body, sizeBytes: body.length });

  const read = async (key = place.key) => buffer((await store.getObject({ ...place, key })).body);

  /** Every file below the root, without those that no longer count. */
  const files = async () => {
    const entries = await readdir(root, { recursive: true, withFileTypes: true });
    return entries
      .filter((entry) => entry.isFile() && !(entry.parentPath === root && entry.name === 'store'))
      .map((entry) => join(entry.parentPath, entry.name));
  };

  describe('Complete', () => {
    it('called twice at once succeeds once; the other call finds no upload', async () => {
      const upload = await open();
      const first = await send(upload, 1, Buffer.from('first part'));
      const second = await send(upload, 2, Buffer.from('second part'));
      const outcomes = await Promise.allSettled([
        store.completeMultipartUpload({ ...upload, parts: [first, second] }),
        createDiskStore({ root, limits }).completeMultipartUpload({ ...upload, parts: [first] }),
      ]);
      const won = outcomes.filter((outcome) => outcome.status === 'fulfilled');
      expect(won).toHaveLength(1);
      expect(outcomes.find((outcome) => outcome.status === 'rejected')?.reason).toMatchObject({
        kind: 'no_such_upload',
      });
      expect(await store.headObject(place)).toMatchObject({ etag: won[0]?.value.etag });
      const whole = won[0] === outcomes[0] ? 'first partsecond part' : 'first part';
      expect((await read()).toString()).toBe(whole);
    });

    it('and abort at once: one of them ends the upload', async () => {
      for (let round = 0; round < 20; round++) {
        const upload = await open(`round-${round}`);
        const part = await send(upload, 1, Buffer.from('content'));
        const [completed] = await Promise.allSettled([
          store.completeMultipartUpload({ ...upload, parts: [part] }),
          store.abortMultipartUpload(upload),
        ]);
        if (completed.status === 'fulfilled') expect((await read(upload.key)).toString()).toBe('content');
        else {
          expect(completed.reason).toMatchObject({ kind: 'no_such_upload' });
          expect(await store.headObject(upload)).toBeUndefined();
        }
        await expect(Array.fromAsync(store.listParts(upload))).rejects.toMatchObject({ kind: 'no_such_upload' });
      }
    });

    it('while its part is replaced takes the part it names, or refuses', async () => {
      const outcomes = new Set<string>();
      for (let round = 0; round < 150; round++) {
        const upload = await open(`round-${round}`);
        const part = await send(upload, 1, Buffer.from('before'));
        // Gives each step of the one the chance to meet each step of the other.
        const turns = round % 15;
        const later = async () => {
          for (let turn = 0; turn < turns; turn++) await stat(root);
          return store.completeMultipartUpload({ ...upload, parts: [part] });
        };
        const [completed] = await Promise.allSettled([later(), send(upload, 1, Buffer.from('after'))]);
        outcomes.add(completed.status);
        if (completed.status === 'fulfilled') expect((await read(upload.key)).toString()).toBe('before');
        else expect(completed.reason).toMatchObject({ kind: 'invalid_part' });
      }
      expect(outcomes).toEqual(new Set(['fulfilled', 'rejected']));
    });

    it('removes parts that it does not name', async () => {
      const upload = await open();
      const parts = [await send(upload, 1, randomBytes(20)), await send(upload, 3, randomBytes(20))];
      await send(upload, 2, randomBytes(20));
      await send(upload, 250, randomBytes(20));
      await store.completeMultipartUpload({ ...upload, parts });
      expect((await files()).filter((path) => path.includes('/parts-'))).toHaveLength(2);
      expect(await files()).toHaveLength(3);
    });

    it('refuses parts out of order, none, and more bytes than an object may have', async () => {
      const upload = await open();
      const first = await send(upload, 1, randomBytes(900_000));
      const second = await send(upload, 2, randomBytes(900_000));
      const complete = (parts: (typeof first)[]) => store.completeMultipartUpload({ ...upload, parts });
      await expect(complete([second, first])).rejects.toMatchObject({ kind: 'invalid_part' });
      await expect(complete([first, first])).rejects.toMatchObject({ kind: 'invalid_part' });
      await expect(complete([])).rejects.toMatchObject({ kind: 'refused' });
      await expect(complete([first, second])).rejects.toMatchObject({ kind: 'refused' });
      expect(await Array.fromAsync(store.listParts(upload))).toHaveLength(2);
    });
  });

  describe('a part', () => {
    it('that is replaced leaves no file behind', async () => {
      const upload = await open();
      await send(upload, 7, randomBytes(20));
      await send(upload, 7, randomBytes(30));
      expect((await files()).filter((path) => path.includes('/parts-'))).toHaveLength(1);
    });

    it('written later counts, also where the clock was set back and the earlier one stays', async () => {
      const upload = await open();
      await send(upload, 1, randomBytes(20));
      const [, uploadFile = ''] = (await files()).sort();
      expect(uploadFile).toContain('upload.json');
      // A Complete that is under way: until it has chosen, no part goes.
      await writeFile(join(dirname(uploadFile), `manifest-${'0'.repeat(32)}.json`), '');
      vi.spyOn(Date, 'now').mockReturnValue(1_000);
      const later = await send(upload, 1, randomBytes(30));
      expect(await Array.fromAsync(store.listParts(upload))).toEqual([{ ...later, sizeBytes: 30 }]);
    });

    it('is not stored when its upload is aborted meanwhile', async () => {
      const upload = await open();
      const body = new Readable({ read() {} });
      const call = store.uploadPart({ ...upload, partNumber: 1, body, sizeBytes: 20 });
      const rejected = expect(call).rejects.toMatchObject({ kind: 'no_such_upload' });
      body.push(randomBytes(10));
      await vi.waitUntil(async () => (await files()).some((path) => path.includes('incoming-')));
      await store.abortMultipartUpload(upload);
      body.push(randomBytes(10));
      body.push(null);
      await rejected;
      expect(await files()).toEqual([]);
      await expect(Array.fromAsync(store.listParts(upload))).rejects.toMatchObject({ kind: 'no_such_upload' });
    });

    it('that breaks off leaves no file and no descriptor', async () => {
      const upload = await open();
      const before = await openDescriptors();
      for (let round = 0; round < 20; round++) {
        const body = Readable.from([randomBytes(10), randomBytes(5)]);
        await expect(store.uploadPart({ ...upload, partNumber: 1, body, sizeBytes: 20 })).rejects.toThrow('broke off');
      }
      expect(await files()).toHaveLength(1);
      expect(await openDescriptors()).toBe(before);
    });

    it('is refused with a number or a size out of bounds, before its body is read', async () => {
      const upload = await open();
      for (const [partNumber, sizeBytes] of [
        [0, 10],
        [10_001, 10],
        [1.5, 10],
        [1, 1_000_001],
      ] as const) {
        const body = new Readable({ read: () => expect.unreachable() });
        const call = store.uploadPart({ ...upload, partNumber, body, sizeBytes });
        await expect(call).rejects.toMatchObject({ kind: 'refused' });
        expect(body.destroyed).toBe(true);
      }
    });
  });

  describe('a reader', () => {
    const makeObject = async () => {
      const upload = await open();
      const contents = [randomBytes(500_000), randomBytes(500_000), randomBytes(400_000)];
      const parts = [];
      for (const [index, content] of contents.entries()) parts.push(await send(upload, index + 1, content));
      await store.completeMultipartUpload({ ...upload, parts });
      return Buffer.concat(contents);
    };

    it('reads on to the end when the object is replaced or deleted meanwhile', async () => {
      const whole = await makeObject();
      const first = (await store.getObject(place)).body;
      await once(first, 'readable');
      await put(Buffer.from('replaced'));
      const second = (await store.getObject(place)).body;
      await store.deleteObjects({ bucket: place.bucket, keys: [place.key] });
      expect((await buffer(first)).equals(whole)).toBe(true);
      expect((await buffer(second)).toString()).toBe('replaced');
      expect(await files()).toEqual([]);
    });

    it('gets one whole version, however often the object is replaced', async () => {
      // Many parts take time to open, in which the next version comes.
      const numbers = Array.from({ length: 60 }, (_, index) => index + 1);
      const sizeBytes = numbers.length * limits.minPartSizeBytes;
      const staged: Parameters<ObjectStore['completeMultipartUpload']>[0][] = [];
      for (let version = 0; version < 25; version++) {
        const upload = await open();
        const content = Buffer.alloc(limits.minPartSizeBytes, version);
        staged.push({ ...upload, parts: await Promise.all(numbers.map((number) => send(upload, number, content))) });
      }
      await put(Buffer.alloc(sizeBytes));
      let isWriting = true;
      const write = async () => {
        for (const upload of staged) await store.completeMultipartUpload(upload);
        isWriting = false;
      };
      const readAgainAndAgain = async () => {
        for (; isWriting; ) {
          const content = await read();
          expect(content.equals(Buffer.alloc(sizeBytes, content[0]))).toBe(true);
        }
      };
      await Promise.all([write(), ...Array.from({ length: 4 }, readAgainAndAgain)]);
    });

    describe('of an object of many parts', () => {
      const partCount = 200;
      const partOf = (number: number) => Buffer.alloc(limits.minPartSizeBytes, number);
      const whole = Buffer.concat(Array.from({ length: partCount }, (_, index) => partOf(index + 1)));

      beforeEach(async () => {
        const upload = await open();
        const parts = [];
        for (let number = 1; number <= partCount; number++) parts.push(await send(upload, number, partOf(number)));
        await store.completeMultipartUpload({ ...upload, parts });
      });

      it('has few of them open at a time, and none at its end', async () => {
        const before = await openDescriptors();
        const { body } = await store.getObject(place);
        const chunks: Buffer[] = [];
        expect((await openDescriptors()) - before).toBeLessThanOrEqual(64);
        for await (const chunk of body) {
          chunks.push(chunk);
          expect((await openDescriptors()) - before).toBeLessThanOrEqual(64);
        }
        expect(Buffer.concat(chunks).equals(whole)).toBe(true);
        expect(await openDescriptors()).toBe(before);
      });

      it('leaves no descriptor when it goes while the next is opened', async () => {
        const before = await openDescriptors();
        for (let round = 0; round < 60; round++) {
          const { body } = await store.getObject(place);
          body.resume();
          for (let turn = 0; turn < round; turn++) await stat(root);
          body.destroy();
          if (!body.closed) await once(body, 'close');
        }
        expect(await openDescriptors()).toBe(before);
      });

      it('breaks off when the object is deleted before it has opened all, and gives no byte of another', async () => {
        const { body } = await store.getObject(place);
        await put(Buffer.alloc(whole.length));
        const chunks: Buffer[] = [];
        const reading = (async () => {
          for await (const chunk of body) chunks.push(chunk);
        })();
        await expect(reading).rejects.toMatchObject({ name: 'StoreError', kind: 'unavailable' });
        const got = Buffer.concat(chunks);
        expect(got.equals(whole.subarray(0, got.length))).toBe(true);
      });
    });

    it('gets ranges across the borders of parts', async () => {
      const whole = await makeObject();
      for (const [first, last] of [
        [499_999, 500_000],
        [0, 1_399_999],
        [250_000, 1_250_000],
        [500_000, 999_999],
        [1_399_999, 9_999_999],
      ] as const) {
        const { body } = await store.getObject({ ...place, range: { first, last } });
        expect((await buffer(body)).equals(whole.subarray(first, last + 1))).toBe(true);
      }
    });

    it('that leaves, before it began or in the middle, leaves no descriptor', async () => {
      await makeObject();
      const before = await openDescriptors();
      for (let round = 0; round < 20; round++) {
        const { body } = await store.getObject(place);
        if (round % 2 === 0) await once(body, 'readable');
        body.destroy();
        await once(body, 'close');
      }
      expect(await openDescriptors()).toBe(before);
    });
  });

  it('removes the files of an object that is replaced', async () => {
    await put(randomBytes(100));
    await put(randomBytes(200));
    expect(await files()).toHaveLength(2);
  });

  it('shows the object that was put last, also where the clock was set back', async () => {
    await put(Buffer.from('first'));
    vi.spyOn(Date, 'now').mockReturnValue(1_000);
    await put(Buffer.from('second'));
    expect((await read()).toString()).toBe('second');
  });

  it('never makes a path of a key, a bucket or an upload’s id', async () => {
    const evil = '../../../escaped';
    await put(Buffer.from('kept inside'), evil);
    expect((await read(evil)).toString()).toBe('kept inside');
    for (const bucket of ['..', '.', 'a/b', '', 'UPPER', 'a\0b']) {
      await expect(store.check(bucket)).rejects.toMatchObject({ kind: 'refused' });
      await expect(store.headObject({ bucket, key: 'k' })).rejects.toMatchObject({ kind: 'refused' });
    }
    await open('other');
    const other = (await files()).find((path) => path.endsWith('upload.json')) ?? '';
    const storeUploadId = `..${dirname(other).slice(dirname(dirname(dirname(other))).length)}`;
    const upload = { ...place, storeUploadId };
    await expect(send(upload, 1, randomBytes(5))).rejects.toMatchObject({ kind: 'no_such_upload' });
    expect(await readdir(join(root, '..'))).not.toContain('escaped');
  });

  it('takes keys of 1 to 1024 bytes of proper Unicode', async () => {
    await put(Buffer.from('long'), 'ü'.repeat(512));
    expect((await read('ü'.repeat(512))).toString()).toBe('long');
    for (const key of ['', 'ü'.repeat(513), 'lone \ud800 surrogate']) {
      await expect(put(randomBytes(5), key)).rejects.toMatchObject({ kind: 'refused' });
    }
  });

  it('shares its root with other processes’ stores', async () => {
    const other = createDiskStore({ root, limits });
    const upload = await open();
    const parts = [
      await send(upload, 1, Buffer.from('from here, ')),
      await send(upload, 2, Buffer.from('there'), other),
    ];
    await other.completeMultipartUpload({ ...upload, parts });
    expect((await read()).toString()).toBe('from here, there');
  });

  it('opens and aborts uploads to one key side by side', async () => {
    const openAndAbort = async () => {
      for (let round = 0; round < 25; round++) {
        const upload = await open();
        expect(await Array.fromAsync(store.listParts(upload))).toEqual([]);
        await store.abortMultipartUpload(upload);
      }
    };
    await Promise.all(Array.from({ length: 8 }, openAndAbort));
    expect(await files()).toEqual([]);
  });

  it('removes what a killed process left half removed, and long abandoned drafts', async () => {
    await mkdir(join(root, 'trash', 'half', 'removed'), { recursive: true });
    await mkdir(join(root, 'drafts', 'abandoned'), { recursive: true });
    await utimes(join(root, 'drafts', 'abandoned'), 0, 0);
    await mkdir(join(root, 'drafts', 'under-way'), { recursive: true });
    createDiskStore({ root, limits });
    await vi.waitUntil(async () => (await readdir(join(root, 'drafts'))).length === 1);
    expect(await readdir(join(root, 'trash'))).toEqual([]);
    expect(await readdir(join(root, 'drafts'))).toEqual(['under-way']);
  });

  it('is unavailable where it cannot keep files', async () => {
    await put(randomBytes(5), 'file');
    const [file = ''] = await files();
    const blocked = createDiskStore({ root: join(file, 'below'), limits });
    await expect(blocked.check('bucket')).rejects.toMatchObject({ kind: 'unavailable' });
  });
});

async function openDescriptors(): Promise<number> {
  // macOS has /dev/fd.
  return (await readdir('/dev/fd')).length;
}
