import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { afterEach, describe, expect, it, vi } from 'vitest';
import type { ObjectStore } from '../../src/core/object-store.ts';
import type { S3Connection, S3Timeouts } from '../../src/stores/s3/clients.ts';
import { createS3Store } from '../../src/stores/s3/s3-store.ts';
import { contractLimits } from './limits.ts';

/** Answers that the real servers do not give on demand, and what the wire looks like to them. */
describe('the S3 store', () => {
  const stops: (() => Promise<void>)[] = [];

  afterEach(async () => {
    vi.unstubAllEnvs();
    for (const stop of stops.splice(0)) await stop();
  });

  async function storeThatMeets(answer: Answer, options: MeetingOptions = {}) {
    const requests: IncomingMessage[] = [];
    const sockets = new Set<unknown>();
    const received: Buffer[] = [];
    const server = createServer((request, response) => {
      requests.push(request);
      sockets.add(request.socket);
      request.on('error', () => undefined);
      if (options.early) answer(response, request);
      else request.on('end', () => answer(response, request));
      request.on('data', (chunk: Buffer) => received.push(chunk));
    });
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const endpoint = `http://user:hidden@127.0.0.1:${(server.address() as AddressInfo).port}`;
    const store = createS3Store({
      endpoint,
      region: 'eu-central-1',
      ...(options.credentials ?? { accessKeyId: 'known', secretAccessKey: 'hidden' }),
      forcePathStyle: true,
      limits: contractLimits,
      timeouts: options.timeouts,
    });
    stops.push(async () => {
      await store.close();
      server.close();
      server.closeAllConnections();
    });
    return { store, requests, sockets, received };
  }

  const calls = {
    createMultipartUpload: (store: ObjectStore) => store.createMultipartUpload({ ...address, metadata: {} }),
    uploadPart: (store: ObjectStore) =>
      store.uploadPart({ ...upload, partNumber: 1, body: Buffer.from('body'), sizeBytes: 4 }),
    copyPart: (store: ObjectStore) => store.copyPart({ ...upload, partNumber: 1, source: address }),
    completeMultipartUpload: (store: ObjectStore) => store.completeMultipartUpload({ ...upload, parts: [part] }),
    putObject: (store: ObjectStore) => store.putObject({ ...address, body: Buffer.from('body'), sizeBytes: 4 }),
    getObject: (store: ObjectStore) => store.getObject(address),
    abortMultipartUpload: (store: ObjectStore) => store.abortMultipartUpload(upload),
    listParts: (store: ObjectStore) => first(store.listParts(upload)),
    listMultipartUploads: (store: ObjectStore) => first(store.listMultipartUploads(address)),
    listObjects: (store: ObjectStore) => first(store.listObjects({ bucket: 'bucket', prefix: '' })),
    headObject: (store: ObjectStore) => store.headObject(address),
    deleteObjects: (store: ObjectStore) => store.deleteObjects({ bucket: 'bucket', keys: ['key'] }),
    check: (store: ObjectStore) => store.check('bucket'),
  };

  describe('on Complete', () => {
    const failure = '<Error><Code>InternalError</Code><Message>try again</Message></Error>';
    const answers: Record<string, Answer> = {
      'an error after a 200': (response) => response.end(failure),
      'an error after a 200 and white space, ending in a newline': (response) =>
        response.end(`<?xml version="1.0" encoding="UTF-8"?>\n   \n${failure}\n`),
      'white space and nothing more': (response) => response.end('<?xml version="1.0" encoding="UTF-8"?>\n   \n'),
      'an empty 200': (response) => response.end(),
      'a page of something else': (response) => response.end('<html><body>It works!</body></html>'),
      'an answer that breaks off': (response) => {
        response.writeHead(200, { 'content-length': 500 });
        response.write('<CompleteMultipartUploadResult><Key>key</Key>', () => response.destroy());
      },
    };

    for (const [name, answer] of Object.entries(answers)) {
      it(`takes ${name} for an unknown outcome, and does not ask again`, async () => {
        const { store, requests } = await storeThatMeets(answer);
        await expect(calls.completeMultipartUpload(store)).rejects.toMatchObject(storeError('unavailable'));
        expect(requests).toHaveLength(1);
      });
    }

    it('takes a result without an ETag for success', async () => {
      const { store } = await storeThatMeets((response) =>
        response.end(
          '<CompleteMultipartUploadResult><Bucket>bucket</Bucket><Key>key</Key><ETag></ETag></CompleteMultipartUploadResult>',
        ),
      );
      expect(await calls.completeMultipartUpload(store)).toEqual({ etag: '' });
    });
  });

  describe('that fails once', () => {
    const once = ['createMultipartUpload', 'uploadPart', 'copyPart', 'completeMultipartUpload', 'putObject'] as const;
    for (const call of once) {
      it(`is not asked again by ${call}`, async () => {
        const { store, requests } = await storeThatMeets(refusing(503, 'SlowDown'));
        await expect(calls[call](store)).rejects.toMatchObject(storeError('unavailable'));
        expect(requests).toHaveLength(1);
      });
    }

    const again = [
      'abortMultipartUpload',
      'listParts',
      'listMultipartUploads',
      'listObjects',
      'headObject',
      'deleteObjects',
      'check',
    ] as const;
    for (const call of again) {
      it(`is asked three times by ${call}`, async () => {
        const { store, requests } = await storeThatMeets(refusing(503, 'SlowDown'));
        await expect(calls[call](store)).rejects.toMatchObject(storeError('unavailable'));
        expect(requests).toHaveLength(3);
      });
    }
  });

  it.each([
    [500, 'InternalError', 'unavailable'],
    [503, 'SlowDownWrite', 'unavailable'],
    [400, 'RequestTimeout', 'unavailable'],
    [429, 'TooManyRequests', 'unavailable'],
    [409, 'OperationAborted', 'unavailable'],
    [409, 'ConditionalRequestConflict', 'unavailable'],
    [507, 'XMinioStorageFull', 'full'],
    [403, 'QuotaExceeded', 'full'],
    [404, 'NoSuchUpload', 'no_such_upload'],
    [400, 'InvalidPartOrder', 'invalid_part'],
    [400, 'InvalidDigest', 'digest_mismatch'],
    [400, 'XAmzContentChecksumMismatch', 'digest_mismatch'],
    [412, 'PreconditionFailed', 'precondition_failed'],
    [403, 'AccessDenied', 'refused'],
    [403, 'SignatureDoesNotMatch', 'refused'],
    [404, 'NoSuchBucket', 'refused'],
    [301, 'PermanentRedirect', 'refused'],
    [400, 'toString', 'refused'],
  ])('takes %i %s for %s', async (status, code, kind) => {
    const { store } = await storeThatMeets(refusing(status, code));
    await expect(calls.uploadPart(store)).rejects.toMatchObject({
      ...storeError(kind),
      message: expect.stringContaining(code),
    });
  });

  it('takes a disk that fills up under MinIO for full', async () => {
    const { store } = await storeThatMeets(refusing(500, 'InternalError', 'cause(no space left on device)'));
    await expect(calls.uploadPart(store)).rejects.toMatchObject(storeError('full'));
  });

  it('does not take the 404 of something that is no store for an answer to abort', async () => {
    const { store } = await storeThatMeets((response) => response.writeHead(404).end('<html>no such page</html>'));
    await expect(calls.abortMultipartUpload(store)).rejects.toMatchObject({ name: 'StoreError' });
  });

  it('sends the digest of a list of keys that every store takes', async () => {
    const { store, requests } = await storeThatMeets((response) => response.end('<DeleteResult/>'));
    await calls.deleteObjects(store);
    expect(requests[0]?.headers).toHaveProperty('content-md5');
    expect(Object.keys(requests[0]!.headers).filter((name) => name.includes('checksum'))).toEqual([]);
  });

  it('reports keys that could not be deleted', async () => {
    const { store } = await storeThatMeets((response) =>
      response.end(
        '<DeleteResult><Error><Key>gone</Key><Code>NoSuchKey</Code></Error>' +
          '<Error><Key>kept</Key><Code>AccessDenied</Code><Message>no</Message></Error></DeleteResult>',
      ),
    );
    await expect(store.deleteObjects({ bucket: 'bucket', keys: ['gone', 'kept'] })).rejects.toMatchObject({
      ...storeError('refused'),
      message: expect.stringContaining('kept'),
    });
  });

  it.each(['', '<NextPartNumberMarker>0</NextPartNumberMarker>'])(
    'fails where a list of parts is cut and its next page unknown: %j',
    async (marker) => {
      const { store } = await storeThatMeets((response) =>
        response.end(`<ListPartsResult><IsTruncated>true</IsTruncated>${marker}</ListPartsResult>`),
      );
      await expect(calls.listParts(store)).rejects.toMatchObject(storeError('unavailable'));
    },
  );

  it('takes RGW’s answer for the parts of a finished upload for one of an upload that it does not know', async () => {
    const { store } = await storeThatMeets(refusing(404, 'NoSuchKey'));
    await expect(calls.listParts(store)).rejects.toMatchObject(storeError('no_such_upload'));
  });

  it('knows how long unfinished uploads are kept, and what pins a URL, only once MinIO has said that it is MinIO', async () => {
    for (const [server, keeps, pin] of [
      ['MinIO', 86_400_000, 'crc32'],
      ['AmazonS3', undefined, 'md5'],
    ] as const) {
      const { store } = await storeThatMeets((response) => response.setHeader('Server', server).writeHead(404).end());
      expect(store.keepsUnfinishedMs()).toBeUndefined();
      expect(store.pinsBy()).toBe('md5');
      await store.headObject(address);
      expect(store.keepsUnfinishedMs()).toBe(keeps);
      expect(store.pinsBy()).toBe(pin);
    }
  });

  it('gives up on a store that is silent', async () => {
    const silence: Answer = () => undefined;
    const { store } = await storeThatMeets(silence, { timeouts: { idleMs: 100, commitIdleMs: 100 } });
    await expect(calls.uploadPart(store)).rejects.toMatchObject(storeError('unavailable'));
    await expect(calls.completeMultipartUpload(store)).rejects.toMatchObject(storeError('unavailable'));
  });

  it('ends a call that the store leaves waiting when its signal says so', async () => {
    const { store } = await storeThatMeets(() => stop.abort(reason));
    const stop = new AbortController();
    const reason = new Error('enough');
    await expect(store.completeMultipartUpload({ ...upload, parts: [part] }, { signal: stop.signal })).rejects.toBe(
      reason,
    );
  });

  it('closes the connection where the store refuses a part before it has read it', async () => {
    const { store, requests } = await storeThatMeets(refusing(404, 'NoSuchUpload'), { early: true });
    const body = new Readable({ read: () => undefined });
    body.push('the first bytes');
    await expect(store.uploadPart({ ...upload, partNumber: 1, body, sizeBytes: 1000 })).rejects.toMatchObject(
      storeError('no_such_upload'),
    );
    await expect.poll(() => requests[0]?.socket.destroyed).toBe(true);
  });

  it('waits longer for Complete than for a part', async () => {
    const { store } = await storeThatMeets(
      (response, request) => {
        if (request.method === 'POST') setTimeout(() => response.end(completed), 400);
      },
      { timeouts: { idleMs: 100, commitIdleMs: 5_000 } },
    );
    await expect(calls.uploadPart(store)).rejects.toMatchObject(storeError('unavailable'));
    await calls.completeMultipartUpload(store);
  });

  it('sends parts one after the other on one connection, as they are, and signs no body', async () => {
    const { store, requests, sockets } = await storeThatMeets((response) => response.setHeader('ETag', '"e"').end());
    const content = Buffer.alloc(3 * 1024 * 1024);
    for (const body of [Readable.from([content]), Readable.from([content]), content]) {
      await store.uploadPart({ ...upload, partNumber: 1, body, sizeBytes: content.length });
    }
    expect(requests).toHaveLength(3);
    for (const { headers } of requests) {
      expect(headers).toMatchObject({
        'content-length': String(content.length),
        'x-amz-content-sha256': 'UNSIGNED-PAYLOAD',
      });
      expect(headers).not.toHaveProperty('expect');
      expect(Object.keys(headers).filter((name) => /checksum|trailer/.test(name))).toEqual([]);
    }
    expect(sockets.size).toBe(1);
  });

  it('finds credentials by the SDK’s default chain, and loses nothing of a stream while it reads them', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'partway-credentials-'));
    stops.push(() => rm(folder, { recursive: true }));
    const file = join(folder, 'credentials');
    await writeFile(file, '[default]\naws_access_key_id = from-a-file\naws_secret_access_key = hidden\n');
    vi.stubEnv('AWS_SHARED_CREDENTIALS_FILE', file);
    for (const name of ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_PROFILE']) vi.stubEnv(name, undefined);
    const { store, requests, received } = await storeThatMeets((response) => response.setHeader('ETag', '"e"').end(), {
      credentials: {},
    });
    const body = new PassThrough();
    body.end('every byte');
    await store.uploadPart({ ...upload, partNumber: 1, body, sizeBytes: 10 });
    expect(Buffer.concat(received).toString()).toBe('every byte');
    expect(requests[0]?.headers.authorization).toContain('from-a-file');
  });

  it('sends metadata that a header would change as encoded-words', async () => {
    const { store, requests } = await storeThatMeets((response) => response.setHeader('ETag', '"e"').end());
    const metadata = { plain: 'a b', double: 'a  b', umlaut: 'ü', empty: '' };
    await store.putObject({ ...address, body: Buffer.alloc(0), sizeBytes: 0, metadata });
    expect(requests[0]?.headers).toMatchObject({
      'x-amz-meta-plain': 'a b',
      'x-amz-meta-double': '=?UTF-8?B?YSAgYg==?=',
      'x-amz-meta-umlaut': '=?UTF-8?B?w7w=?=',
      'x-amz-meta-empty': '=?UTF-8?B??=',
    });
  });

  it('says where it is, without secrets', async () => {
    const { store } = await storeThatMeets((response) => response.end());
    expect(store.description).toMatch(/^S3 at http:\/\/127\.0\.0\.1:\d+, region eu-central-1$/);
  });
});

interface MeetingOptions {
  readonly timeouts?: Partial<S3Timeouts>;
  /** Answers before it has read the body. */
  readonly early?: boolean;
  readonly credentials?: Pick<S3Connection, 'accessKeyId' | 'secretAccessKey'>;
}

type Answer = (response: ServerResponse, request: IncomingMessage) => void;

const address = { bucket: 'bucket', key: 'key' };
const upload = { ...address, storeUploadId: 'upload' };
const part = { partNumber: 1, etag: '"etag"' };
const completed = '<CompleteMultipartUploadResult><ETag>"etag-1"</ETag></CompleteMultipartUploadResult>';

function refusing(status: number, code: string, message = 'because'): Answer {
  return (response) =>
    response.writeHead(status).end(`<Error><Code>${code}</Code><Message>${message}</Message></Error>`);
}

function storeError(kind: string) {
  return { name: 'StoreError', kind };
}

async function first<T>(items: AsyncIterable<T>): Promise<T | undefined> {
  for await (const item of items) return item;
  return undefined;
}
