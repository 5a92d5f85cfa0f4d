import { crc32 } from 'node:zlib';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { openSource, upload as uploadAnywhere } from '../../src/sdk/index.ts';
import {
  isAbortedError,
  isNotAuthorisedError,
  isNoUploadError,
  isRefusedError,
  isUsageError,
  PartwayClient,
  type UploadEvent,
  type UploadProgress,
  upload,
} from '../../src/sdk/node/index.ts';
import { nodeHashes } from '../../src/sdk/node/node-hashes.ts';
import { nodeTransport } from '../../src/sdk/node/node-transport.ts';
import type { RequestBody, Transport } from '../../src/sdk/transport/transport.ts';
import { RunningUpload } from '../../src/sdk/upload.ts';
import { bytesOf } from '../protocols/rest/rest-client.ts';
import { startRestGateway } from '../protocols/rest/rest-gateway.ts';
import type { ProxiedRequest } from '../support/fault-proxy.ts';
import {
  bytesIn,
  isComplete,
  isData,
  isPart,
  isSigned,
  MiB,
  partBytes,
  type SdkGateway,
  startSdkGateway,
} from './sdk-gateway.ts';

let sdk: SdkGateway;

beforeAll(async () => {
  sdk = await startSdkGateway();
});

afterAll(() => sdk?.stop());

beforeEach(() => sdk.clear());

async function expectStored(key: string, bytes: Uint8Array): Promise<void> {
  expect((await sdk.gateway.client.read(key)).bytes.equals(bytes)).toBe(true);
  expect((await sdk.gateway.client.list(`?prefix=${key}`)).uploads).toMatchObject([{ state: 'completed' }]);
}

function digestOf(bytes: Uint8Array): string {
  const crc = Buffer.alloc(4);
  crc.writeUInt32BE(crc32(bytes));
  return `crc32=:${crc.toString('base64')}:`;
}

describe('through the gateway', () => {
  test('a file arrives: each part once, with its digest, and the whole is told and compared', async () => {
    const bytes = bytesOf(2 * partBytes + 4711, 'relay');
    const path = await sdk.fileOf('relay', bytes);
    const result = await upload({ path }, { server: sdk.line.url, key: 'relay', mode: 'relay' }).finished;
    await expectStored('relay', bytes);
    expect(result).toMatchObject({
      upload: { state: 'completed', key: 'relay', size: bytes.length },
      digest: digestOf(bytes),
      mode: 'relay',
      resumedBytes: 0,
      sentBytes: bytes.length,
      sizeBytes: bytes.length,
    });
    const sent = sdk.line.requests.filter(isData).map(({ headers }) => headers.get('content-digest'));
    expect(sent.toSorted()).toEqual(
      [0, 1, 2].map((part) => digestOf(bytes.subarray(part * partBytes, (part + 1) * partBytes))).toSorted(),
    );
  });

  test.each([0, 1, partBytes, 2 * partBytes + 1])('%d bytes arrive', async (size) => {
    const bytes = bytesOf(size, 'sizes');
    const key = `size-${size}`;
    const path = await sdk.fileOf(key, bytes);
    await upload({ path }, { server: sdk.line.url }).finished;
    await expectStored(key, bytes);
  });

  test('no more requests are under way than are allowed', async () => {
    const path = await sdk.fileOf('parallel', bytesOf(6 * partBytes, 'parallel'));
    let most = 0;
    const onProgress = ({ requestsInFlight }: UploadProgress) => {
      most = Math.max(most, requestsInFlight);
    };
    await upload({ path }, { server: sdk.line.url, mode: 'relay', parallel: 2, onProgress }).finished;
    expect(most).toBe(2);
  });

  test('progress is told to the end, and never goes back', async () => {
    const bytes = bytesOf(3 * partBytes, 'progress');
    const path = await sdk.fileOf('progress', bytes);
    const told: UploadProgress[] = [];
    const onProgress = (progress: UploadProgress) => told.push(progress);
    await upload({ path }, { server: sdk.line.url, mode: 'relay', onProgress }).finished;
    expect(told.at(-1)).toMatchObject({
      phase: 'completed',
      totalBytes: bytes.length,
      storedBytes: bytes.length,
      reachedBytes: bytes.length,
      storedParts: 3,
      partCount: 3,
      requestsInFlight: 0,
    });
    const reached = told.map(({ reachedBytes }) => reachedBytes);
    expect(reached).toEqual(reached.toSorted((a, b) => a - b));
  });

  test('what the object is to be goes with it', async () => {
    const path = await sdk.fileOf('described', bytesOf(5, 'described'));
    const { upload: made } = await upload(
      { path },
      {
        server: sdk.line.url,
        contentType: 'video/mp4',
        metadata: { of: 'x' },
        expiresInSeconds: 60,
        partSizeBytes: 6 * MiB,
      },
    ).finished;
    expect(made).toMatchObject({
      key: 'described',
      contentType: 'video/mp4',
      metadata: { of: 'x' },
      partSize: 6 * MiB,
    });
  });

  test('a digest that the source does not have stops it before it completes', async () => {
    const path = await sdk.fileOf('expected', bytesOf(9, 'expected'));
    const options = { server: sdk.line.url, digest: digestOf(bytesOf(9, 'another')) };
    await expect(upload({ path }, options).finished).rejects.toMatchObject({
      name: 'IntegrityError',
      message: expect.stringContaining('Nothing was completed'),
    });
    expect(sdk.line.requests.some(isComplete)).toBe(false);
  });

  test('bytes in memory, and a Blob, arrive by fetch as well', async () => {
    const bytes = bytesOf(partBytes + 5, 'fetch');
    await uploadAnywhere(bytes, { server: sdk.line.url, key: 'in-memory' }).finished;
    await uploadAnywhere(new Blob([bytes]), { server: sdk.line.url, key: 'blob' }).finished;
    await expectStored('in-memory', bytes);
    await expectStored('blob', bytes);
  });

  test('given up, nothing of it stays', async () => {
    const path = await sdk.fileOf('given-up', bytesOf(2 * partBytes, 'given-up'));
    const held = sdk.line.rule({ match: isPart, fault: { kind: 'hold' } });
    const task = upload({ path }, { server: sdk.line.url, mode: 'relay' });
    await held.reached;
    await task.abort();
    await expect(task.finished).rejects.toSatisfy(isAbortedError);
    expect(await sdk.gateway.client.look(task.uploadId!)).toMatchObject({ state: 'aborted', reason: 'requested' });
  });

  test('while it pauses no request begins; then it goes on', async () => {
    const bytes = bytesOf(4 * partBytes, 'paused');
    const path = await sdk.fileOf('paused', bytes);
    const held = sdk.line.rule({ match: isPart, times: 1, fault: { kind: 'hold' } });
    const task = upload({ path }, { server: sdk.line.url, key: 'paused', mode: 'relay', parallel: 1 });
    await held.reached;
    task.pause();
    held.release();
    await expect.poll(() => task.progress.storedBytes).toBe(partBytes);
    expect(task.progress).toMatchObject({ phase: 'paused', requestsInFlight: 0 });
    expect(sdk.line.requests.filter(isPart)).toHaveLength(1);
    task.resume();
    await task.finished;
    await expectStored('paused', bytes);
  });
});

describe('pause and abort at any moment', () => {
  test('paused before it has begun, it asks for nothing', async () => {
    const task = upload(bytesOf(5), { server: sdk.line.url, key: 'early' });
    task.pause();
    expect(task.progress.phase).toBe('paused');
    await new PartwayClient({ server: sdk.line.url }).listPage();
    expect(sdk.line.requests.filter(({ method }) => method !== 'GET')).toHaveLength(0);
    task.resume();
    expect((await task.finished).upload.state).toBe('completed');
  });

  test('paused with its last part under way it is not completed; resumed after its end it stays ended', async () => {
    const phases: string[] = [];
    const onProgress = ({ phase }: UploadProgress) => phases.push(phase);
    const held = sdk.line.rule({ match: isPart, fault: { kind: 'hold' } });
    const task = upload(bytesOf(5), { server: sdk.line.url, key: 'late', onProgress });
    await held.reached;
    task.pause();
    held.release();
    await expect.poll(() => task.progress.storedBytes).toBe(5);
    await new PartwayClient({ server: sdk.line.url }).listPage();
    expect(sdk.line.requests.some(isComplete)).toBe(false);
    task.resume();
    await task.finished;
    task.pause();
    task.resume();
    expect(task.progress.phase).toBe('completed');
    expect(phases.at(-1)).toBe('completed');
  });

  test('given up too late, the object that is there is what came of it', async () => {
    const held = sdk.line.rule({ match: isComplete, fault: { kind: 'hold', at: { on: 'answer' } } });
    const task = upload(bytesOf(5, 'too-late'), { server: sdk.line.url, key: 'too-late' });
    await held.reached;
    await task.abort();
    expect((await task.finished).upload).toMatchObject({ id: task.uploadId, state: 'completed' });
    await expectStored('too-late', bytesOf(5, 'too-late'));
  });
});

describe('straight to the store', () => {
  test('no part passes the gateway, and the store checks each', async () => {
    if (sdk.storeLine === undefined) return;
    const bytes = bytesOf(3 * partBytes + 7, 'direct');
    const path = await sdk.fileOf('direct', bytes);
    const result = await upload({ path }, { server: sdk.line.url, key: 'direct', mode: 'direct' }).finished;
    expect(result).toMatchObject({ mode: 'direct', sentBytes: bytes.length });
    await expectStored('direct', bytes);
    expect(result.digest).toBe(digestOf(bytes));
    expect(sdk.line.requests.filter(isData)).toEqual([]);
    expect(pinsOf(sdk.storeLine.requests)).toEqual(Array(4).fill('x-amz-checksum-crc32'));
  });

  test('one that does not say that it has checked a CRC-32 is sent MD5s', async () => {
    if (sdk.storeLine === undefined) return;
    const bytes = bytesOf(2 * partBytes, 'unsaid');
    const transport: Transport = async (request) => {
      const answer = await nodeTransport(request);
      return { ...answer, header: (name) => (name === 'x-amz-checksum-crc32' ? undefined : answer.header(name)) };
    };
    const task = new RunningUpload({ transport, hashes: nodeHashes, open: openSource }, new Blob([bytes]), {
      server: sdk.line.url,
      key: 'unsaid',
      mode: 'direct',
      parallel: 1,
    });
    expect(await task.finished).toMatchObject({ mode: 'direct' });
    await expectStored('unsaid', bytes);
    expect(pinsOf(sdk.storeLine.requests)).toEqual(['x-amz-checksum-crc32', 'content-md5', 'content-md5']);
  });

  test('one that refuses what came garbled is sent it again', async () => {
    if (sdk.storeLine === undefined) return;
    const bytes = bytesOf(2 * partBytes, 'garbled');
    let isGarbled = false;
    const transport: Transport = (request) => {
      const { body } = request;
      if (isGarbled || body === undefined || !request.url.includes('X-Amz-Signature')) return nodeTransport(request);
      isGarbled = true;
      return nodeTransport({ ...request, body: { ...body, pieces: () => garbled(body) } });
    };
    const task = new RunningUpload({ transport, hashes: nodeHashes, open: openSource }, new Blob([bytes]), {
      server: sdk.line.url,
      key: 'garbled',
      mode: 'direct',
      parallel: 1,
    });
    expect(await task.finished).toMatchObject({ mode: 'direct' });
    await expectStored('garbled', bytes);
    expect(sdk.storeLine.requests.filter(isSigned).map(({ status }) => status)).toEqual([400, 200, 200]);
  });

  test('one that gets it garbled again and again is not sent it for ever', async () => {
    if (sdk.storeLine === undefined) return;
    const transport: Transport = (request) => {
      const { body } = request;
      if (body === undefined || !request.url.includes('X-Amz-Signature')) return nodeTransport(request);
      return nodeTransport({ ...request, body: { ...body, pieces: () => garbled(body) } });
    };
    const task = new RunningUpload(
      { transport, hashes: nodeHashes, open: openSource },
      new Blob([bytesOf(2 * partBytes)]),
      { server: sdk.line.url, key: 'garbled-ever', mode: 'direct', parallel: 1 },
    );
    await expect(task.finished).rejects.toMatchObject({ name: 'IntegrityError' });
    expect(sdk.storeLine.requests.filter(isSigned).map(({ status }) => status)).toEqual([400, 400, 400]);
  });

  test('a store that can be reached is found by the first part', async () => {
    if (sdk.storeLine === undefined) return;
    const path = await sdk.fileOf('found', bytesOf(2 * partBytes, 'found'));
    const events: UploadEvent[] = [];
    const onEvent = (event: UploadEvent) => events.push(event);
    expect(await upload({ path }, { server: sdk.line.url, onEvent }).finished).toMatchObject({ mode: 'direct' });
    expect(events).toMatchObject([{ type: 'start' }, { type: 'mode', mode: 'direct' }]);
  });

  test('a gateway that signs no URL just now is asked again, and the store is not taken for out of reach', async () => {
    if (sdk.storeLine === undefined) return;
    const path = await sdk.fileOf('unsigned-once', bytesOf(2 * partBytes, 'unsigned-once'));
    sdk.line.rule({
      match: ({ path: asked }) => asked.endsWith('/sign'),
      times: 1,
      fault: { kind: 'answer', status: 503 },
    });
    expect(await upload({ path }, { server: sdk.line.url }).finished).toMatchObject({ mode: 'direct' });
  });

  test('one that can not be reached is left with the first part, and the gateway gets them all', async () => {
    if (sdk.storeLine === undefined) return;
    const bytes = bytesOf(3 * partBytes, 'left');
    const path = await sdk.fileOf('left', bytes);
    sdk.storeLine.rule({ match: isSigned, fault: { kind: 'reset' } });
    const events: UploadEvent[] = [];
    const onEvent = (event: UploadEvent) => events.push(event);
    expect(await upload({ path }, { server: sdk.line.url, onEvent }).finished).toMatchObject({ mode: 'relay' });
    expect(events).toMatchObject([
      { type: 'start' },
      { type: 'mode', mode: 'relay', reason: expect.stringContaining('the connection broke') },
    ]);
    // One of them may have been a connection that was kept.
    expect(sdk.storeLine.requests.filter(isSigned).length).toBeLessThanOrEqual(2);
    expect(bytesIn(sdk.line, isData)).toBe(bytes.length);
    await expectStored('left', bytes);
  });

  test('one that is lost on the way is left, too', async () => {
    if (sdk.storeLine === undefined) return;
    const bytes = bytesOf(6 * partBytes, 'lost');
    const path = await sdk.fileOf('lost', bytes);
    sdk.storeLine.rule({ match: isSigned, after: 2, fault: { kind: 'answer', status: 403 } });
    expect(await upload({ path }, { server: sdk.line.url, key: 'lost' }).finished).toMatchObject({ mode: 'relay' });
    expect(bytesIn(sdk.line, isData)).toBe(4 * partBytes);
    await expectStored('lost', bytes);
  });

  test('where it is wanted and the store signs nothing, it is refused', async () => {
    await using disk = await startDiskGateway();
    const path = await sdk.fileOf('unsigned', bytesOf(2 * partBytes, 'unsigned'));
    await expect(upload({ path }, { server: disk.url, mode: 'direct' }).finished).rejects.toMatchObject({
      name: 'RefusedError',
      code: 'unsupported',
    });
    expect(await upload({ path }, { server: disk.url }).finished).toMatchObject({ mode: 'relay' });
  });
});

function pinsOf(requests: readonly ProxiedRequest[]): (string | undefined)[] {
  return requests
    .filter(isSigned)
    .map(({ headers }) => ['content-md5', 'x-amz-checksum-crc32'].find((name) => headers.has(name)));
}

async function* garbled({ pieces }: RequestBody): AsyncGenerator<Uint8Array> {
  let isFirst = true;
  for await (const piece of pieces()) {
    const bytes = Uint8Array.from(piece);
    if (isFirst) bytes[0] = (bytes[0] ?? 0) ^ 1;
    isFirst = false;
    yield bytes;
  }
}

async function startDiskGateway(): Promise<AsyncDisposable & { readonly url: string }> {
  const gateway = await startRestGateway('disk');
  return { url: gateway.url, [Symbol.asyncDispose]: () => gateway.stop() };
}

describe('refusals', () => {
  test('no key, or a wrong one, is told as such', async () => {
    const gateway = await startRestGateway('disk', { env: { PARTWAY_AUTH: 'keys' } });
    try {
      const task = upload(bytesOf(1), { server: gateway.url, key: 'k' });
      await expect(task.finished).rejects.toSatisfy(isNotAuthorisedError);
      const client = new PartwayClient({ server: gateway.url, apiKey: 'pw_wrong' });
      await expect(client.listPage()).rejects.toSatisfy(isNotAuthorisedError);
    } finally {
      await gateway.stop();
    }
  });

  test('an upload that nobody knows', async () => {
    const client = new PartwayClient({ server: sdk.line.url });
    await expect(client.look('nobody')).rejects.toSatisfy(isNoUploadError);
    const task = upload(bytesOf(1), { server: sdk.line.url, uploadId: 'nobody' });
    await expect(task.finished).rejects.toSatisfy(isNoUploadError);
  });

  test('a key that no object can have', async () => {
    const task = upload(bytesOf(1), { server: sdk.line.url, key: '../x' });
    await expect(task.finished).rejects.toSatisfy(isRefusedError);
  });

  test.each([
    [{ server: 'nonsense' }],
    [{ server: 'ftp://host' }],
    [{ server: 'http://user:secret@host' }],
    [{ server: 'http://host', parallel: 0 }],
    [{ server: 'http://host', parallel: 65 }],
    [{ server: 'http://host', windowBytes: 0 }],
    [{ server: 'http://host', limitBytesPerSecond: -1 }],
    [{ server: 'http://host', digest: 'md5=:x:' }],
    [{ server: 'http://host', digest: 'crc32=:AAAAAA==:', mode: 'direct' as const }],
    [{ server: 'http://host', apiKey: 'not\nakey' }],
  ])('%j can not be used', (options) => {
    expect(() => upload(bytesOf(1), options)).toThrow(expect.toSatisfy(isUsageError));
  });
});
