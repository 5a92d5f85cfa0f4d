import { Readable } from 'node:stream';
import { type DetailedError, type PreviousUpload, Upload, type UploadOptions, type UrlStorage } from 'tus-js-client';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { StoreError } from '../../../src/core/object-store.ts';
import { bytesOf } from '../../protocols/rest/rest-client.ts';
import { availableStores, type RestGateway, startRestGateway } from '../../protocols/rest/rest-gateway.ts';
import { TusClient } from '../../protocols/tus/tus-client.ts';
import { type FaultProxy, type ProxiedRequest, startFaultProxy } from '../../support/fault-proxy.ts';

const KiB = 1024;
const MiB = 1024 ** 2;
const store = (await availableStores()).at(-1)!;

const isPatch = ({ method }: ProxiedRequest) => method === 'PATCH';
const isCreation = ({ method }: ProxiedRequest) => method === 'POST';

describe('tus-js-client', { timeout: 60_000 }, () => {
  let gateway: RestGateway;
  let proxy: FaultProxy;
  let plain: TusClient;

  beforeAll(async () => {
    gateway = await startRestGateway(store);
    proxy = await startFaultProxy({ target: gateway.url });
    plain = new TusClient(gateway.url);
  });

  afterAll(async () => {
    plain?.close();
    await proxy?.stop();
    await gateway?.stop();
  });

  beforeEach(() => proxy.clear());

  const options = (more: Partial<UploadOptions>): UploadOptions => ({
    endpoint: `${proxy.url}/files/`,
    retryDelays: [0, 50, 100, 200, 400],
    metadata: { filename: 'film.mp4', filetype: 'video/mp4' },
    ...more,
  });

  /** The path of the upload that it made. */
  async function send(source: Buffer | Readable, more: Partial<UploadOptions> = {}): Promise<string> {
    const upload = await new Promise<Upload>((resolve, reject) => {
      const started: Upload = new Upload(
        source,
        options({ ...more, onError: reject, onSuccess: () => resolve(started) }),
      );
      started.start();
    });
    return new URL(upload.url!).pathname;
  }

  async function expectStored(path: string, bytes: Buffer): Promise<void> {
    expect((await plain.send('GET', path)).bytes.equals(bytes)).toBe(true);
  }

  const sentBytes = () => proxy.requests.filter(isPatch).reduce((sum, { requestBytes }) => sum + requestBytes, 0);

  test.each([256 * KiB, MiB, 8 * MiB, Number.POSITIVE_INFINITY])('chunks of %d bytes', async (chunkSize) => {
    const bytes = bytesOf(9 * MiB + 5, `chunks ${chunkSize}`);
    await expectStored(await send(bytes, { chunkSize }), bytes);
    expect(proxy.requests.filter(isPatch)).toHaveLength(Math.max(1, Math.ceil(bytes.length / chunkSize)));
  });

  test('an empty file', async () => {
    await expectStored(await send(Buffer.alloc(0)), Buffer.alloc(0));
  });

  test('its first bytes with the creation', async () => {
    const bytes = bytesOf(9 * MiB, 'creation');
    await expectStored(await send(bytes, { uploadDataDuringCreation: true }), bytes);
    expect(proxy.requests.map(({ method }) => method)).toEqual(['POST']);
  });

  test('a stream of which it does not know the length', async () => {
    const bytes = bytesOf(9 * MiB + 5, 'deferred');
    const pieces = Array.from({ length: 19 }, (_, index) => bytes.subarray(index * 500_000, (index + 1) * 500_000));
    const source = Readable.from(pieces, { objectMode: false });
    await expectStored(await send(source, { uploadLengthDeferred: true, chunkSize: MiB }), bytes);
  });

  test('parts of a file at the same time, put together', async () => {
    const bytes = bytesOf(23 * MiB + 5, 'parallel');
    proxy.rule({
      match: isPatch,
      after: 1,
      times: 1,
      fault: { kind: 'reset', at: { on: 'request', afterBytes: MiB } },
    });
    await expectStored(await send(bytes, { parallelUploads: 4 }), bytes);
    expect(proxy.requests.filter(isCreation)).toHaveLength(5);
  });

  test('where the method is told in a header', async () => {
    const bytes = bytesOf(MiB, 'override');
    await expectStored(await send(bytes, { overridePatchMethod: true }), bytes);
  });

  describe('on a line that breaks', () => {
    test.each([
      ['cut in the middle', isPatch, { kind: 'reset', at: { on: 'request', afterBytes: 3 * MiB } }],
      ['whose answer is lost', isPatch, { kind: 'dropAnswer' }],
      ['that is answered 503', isPatch, { kind: 'answer', status: 503 }],
      ['whose creation is lost', isCreation, { kind: 'dropAnswer' }],
    ] as const)('a request %s is made good', async (_, match, fault) => {
      const bytes = bytesOf(9 * MiB, `broken ${fault.kind}`);
      proxy.rule({ match, times: 1, fault });
      await expectStored(await send(bytes), bytes);
    });

    test('chunks that were answered are not sent again', async () => {
      const bytes = bytesOf(20 * MiB, 'kept');
      proxy.rule({
        match: isPatch,
        after: 2,
        times: 1,
        fault: { kind: 'reset', at: { on: 'request', afterBytes: MiB } },
      });
      await expectStored(await send(bytes, { chunkSize: 4 * MiB }), bytes);
      // The one that was cut, and one more where the offset has moved on since it was asked for.
      expect(sentBytes()).toBeLessThan(bytes.length + 8 * MiB);
    });

    test('that is cut every 700 KiB it arrives all the same', async () => {
      const bytes = bytesOf(6 * MiB, 'often');
      proxy.rule({ match: isPatch, fault: { kind: 'reset', at: { on: 'request', afterBytes: 700 * KiB } } });
      // The counter of its retries begins anew with each one that brought something, which on a busy machine not each one does.
      await expectStored(await send(bytes, { retryDelays: Array<number>(50).fill(100) }), bytes);
    });

    test('a Complete that the store fails is not success', async () => {
      const bytes = bytesOf(MiB, 'complete fails');
      let failures = 0;
      const restore = gateway.probe.before('completeMultipartUpload', () => {
        failures += 1;
        if (failures <= 2) throw new StoreError('refused', 'no');
        restore();
      });
      await expectStored(await send(bytes), bytes);
      expect(failures).toBe(3);
    });
  });

  test('goes on in another run with the URL that it remembered', async () => {
    const bytes = bytesOf(20 * MiB, 'resumed');
    const common = { urlStorage: rememberingStorage(), fingerprint: async () => 'film', chunkSize: 4 * MiB };
    const held = proxy.rule({ match: isPatch, after: 2, fault: { kind: 'hold' } });
    const first = new Upload(bytes, options(common));
    first.start();
    await held.reached;
    await first.abort();
    proxy.clear();
    const second = await new Promise<Upload>((resolve, reject) => {
      const upload: Upload = new Upload(
        bytes,
        options({ ...common, onError: reject, onSuccess: () => resolve(upload) }),
      );
      upload.findPreviousUploads().then(([previous]) => {
        upload.resumeFromPreviousUpload(previous!);
        upload.start();
      }, reject);
    });
    expect(proxy.requests.map(({ method }) => method)).not.toContain('POST');
    expect(sentBytes()).toBe(12 * MiB);
    await expectStored(new URL(second.url!).pathname, bytes);
  });

  test('given up, its upload is gone', async () => {
    const held = proxy.rule({ match: isPatch, fault: { kind: 'hold', at: { on: 'request', afterBytes: MiB } } });
    const upload = new Upload(bytesOf(2 * MiB), options({}));
    upload.start();
    await held.reached;
    proxy.clear();
    await upload.abort(true);
    expect((await plain.head(new URL(upload.url!).pathname)).status).toBe(410);
  });

  test('more than the gateway takes is refused at once', async () => {
    const tooMuch = send(Readable.from([Buffer.from('x')]), { uploadSize: 6 * 1024 ** 4, chunkSize: MiB });
    await expect(tooMuch).rejects.toSatisfy((error: DetailedError) => error.originalResponse?.getStatus() === 413);
    expect(proxy.requests).toHaveLength(1);
  });
});

function rememberingStorage(): UrlStorage {
  const uploads = new Map<string, PreviousUpload>();
  return {
    findAllUploads: async () => [...uploads.values()],
    findUploadsByFingerprint: async (fingerprint) =>
      [...uploads]
        .filter(([key]) => key.startsWith(fingerprint))
        .map(([urlStorageKey, upload]) => ({ ...upload, urlStorageKey })),
    removeUpload: async (key) => void uploads.delete(key),
    addUpload: async (fingerprint, upload) => {
      const key = `${fingerprint} ${uploads.size}`;
      uploads.set(key, upload);
      return key;
    },
  };
}
