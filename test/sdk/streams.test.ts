import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { isSourceError, isUsageError, upload } from '../../src/sdk/node/index.ts';
import { bytesOf } from '../protocols/rest/rest-client.ts';
import {
  isComplete,
  isCreate,
  isData,
  isPart,
  isRange,
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

/** In pieces that fit nothing. */
async function* piecesOf(bytes: Buffer, pieceBytes = 700_001): AsyncGenerator<Uint8Array> {
  for (let offset = 0; offset < bytes.length; offset += pieceBytes) yield bytes.subarray(offset, offset + pieceBytes);
}

async function expectStored(key: string, bytes: Uint8Array): Promise<void> {
  expect((await sdk.gateway.client.read(key)).bytes.equals(bytes)).toBe(true);
}

test.each([0, 1, partBytes, partBytes + 1, 5 * partBytes])('%d bytes of unknown length arrive', async (size) => {
  const bytes = bytesOf(size, 'stream');
  const key = `stream-${size}`;
  const result = await upload(piecesOf(bytes), { server: sdk.line.url, key }).finished;
  expect(result).toMatchObject({ sizeBytes: size, sentBytes: size, upload: { size } });
  expect(result.digest).toBeDefined();
  await expectStored(key, bytes);
});

test('whole parts are sent where the window has room for them', async () => {
  const bytes = bytesOf(4 * partBytes + 5, 'parts');
  await upload(piecesOf(bytes), { server: sdk.line.url, key: 'parts' }).finished;
  expect(sdk.line.requests.filter(isPart)).toHaveLength(5);
  expect(sdk.line.requests.filter(isRange)).toHaveLength(0);
});

test('a window smaller than a part is enough', async () => {
  const bytes = bytesOf(2 * partBytes + 5, 'narrow');
  await upload(piecesOf(bytes), { server: sdk.line.url, key: 'narrow', windowBytes: 3 * MiB, parallel: 2 }).finished;
  const largest = Math.max(...sdk.line.requests.filter(isData).map(({ requestBytes }) => requestBytes));
  expect(largest).toBe(MiB);
  await expectStored('narrow', bytes);
});

test('no more is taken from the source than the window holds', async () => {
  let taken = 0;
  async function* counted() {
    for await (const piece of piecesOf(bytesOf(8 * partBytes, 'held'), MiB)) {
      taken += piece.length;
      yield piece;
    }
  }
  const held = sdk.line.rule({ match: isData, fault: { kind: 'hold' } });
  const task = upload(counted(), { server: sdk.line.url, key: 'held', windowBytes: 3 * partBytes });
  await expect.poll(() => sdk.line.requests.filter(isData).length).toBe(2);
  // Two parts on their way, a third collected, and the piece that tells whether more is to come.
  await expect.poll(() => taken).toBe(3 * partBytes + MiB);
  held.release();
  await task.finished;
  await expectStored('held', bytesOf(8 * partBytes, 'held'));
});

test('what a broken line lost is sent again from the window', async () => {
  const bytes = bytesOf(3 * partBytes, 'again');
  sdk.line.rule({ match: isData, times: 4, fault: { kind: 'reset', at: { on: 'request', afterBytes: 2 * MiB } } });
  sdk.line.rule({ match: isData, after: 3, times: 1, fault: { kind: 'dropAnswer' } });
  await upload(piecesOf(bytes), { server: sdk.line.url, key: 'lines' }).finished;
  await expectStored('lines', bytes);
});

test('a source that breaks off never becomes an object, and nothing of it stays', async () => {
  async function* broken() {
    yield bytesOf(partBytes, 'broken');
    yield bytesOf(MiB, 'broken');
    throw new Error('the dump failed');
  }
  const task = upload(broken(), { server: sdk.line.url, key: 'broken' });
  await expect(task.finished).rejects.toMatchObject({
    name: 'SourceError',
    message: expect.stringContaining('the dump failed'),
    isResumable: false,
  });
  expect(await sdk.gateway.client.look(task.uploadId!)).toMatchObject({ state: 'aborted' });
  expect(sdk.line.requests.some(isComplete)).toBe(false);
});

test.each([partBytes + 1, partBytes - 1])(
  'a source of another length than it was said to have, %d, never becomes an object',
  async (size) => {
    const task = upload(piecesOf(bytesOf(size)), { server: sdk.line.url, key: 'length', sizeBytes: partBytes });
    await expect(task.finished).rejects.toSatisfy(isSourceError);
    expect(await sdk.gateway.client.look(task.uploadId!)).toMatchObject({ state: 'aborted' });
  },
);

test('a source of a known length arrives', async () => {
  const bytes = bytesOf(partBytes + 5, 'known');
  await upload(piecesOf(bytes), { server: sdk.line.url, key: 'known', sizeBytes: bytes.length }).finished;
  await expectStored('known', bytes);
});

test('interrupted while it waits for its source, it ends at once', async () => {
  const stop = new AbortController();
  async function* hanging() {
    yield bytesOf(MiB);
    await new Promise(() => {});
  }
  const task = upload(hanging(), { server: sdk.line.url, key: 'hanging', signal: stop.signal });
  await expect.poll(() => task.progress.phase).toBe('sending');
  stop.abort();
  await expect(task.finished).rejects.toMatchObject({ name: 'InterruptedError', isResumable: false });
  expect(await sdk.gateway.client.look(task.uploadId!)).toMatchObject({ state: 'aborted' });
});

test('interrupted before it has heard that its upload was created, nothing of it stays', async () => {
  const held = sdk.line.rule({ match: isCreate, times: 1, fault: { kind: 'hold', at: { on: 'answer' } } });
  const stop = new AbortController();
  const task = upload(piecesOf(bytesOf(5)), { server: sdk.line.url, key: 'unheard', signal: stop.signal });
  await held.reached;
  stop.abort();
  await expect(task.finished).rejects.toMatchObject({ name: 'InterruptedError', isResumable: false });
  expect((await sdk.gateway.client.list('?prefix=unheard')).uploads).toMatchObject([{ state: 'aborted' }]);
});

test('what gives up an upload is tried again for a while', async () => {
  async function* broken() {
    yield bytesOf(MiB);
    throw new Error('the dump failed');
  }
  sdk.line.rule({ match: ({ method }) => method === 'DELETE', times: 2, fault: { kind: 'answer', status: 503 } });
  const task = upload(broken(), { server: sdk.line.url, key: 'restarting' });
  await expect(task.finished).rejects.toSatisfy(isSourceError);
  expect(await sdk.gateway.client.look(task.uploadId!)).toMatchObject({ state: 'aborted' });
});

test.each([
  ['no promise', () => ({ done: true, value: undefined })],
  [
    'an error at once',
    () => {
      throw new Error('at once');
    },
  ],
])('an iterator that answers return() with %s is left all the same', async (_what, leave) => {
  const uncaught: unknown[] = [];
  const note = (error: unknown) => uncaught.push(error);
  process.on('uncaughtException', note);
  const endless = { next: async () => ({ done: false, value: new Uint8Array(MiB) }), return: leave };
  const source = { [Symbol.asyncIterator]: () => endless } as unknown as AsyncIterable<Uint8Array>;
  const task = upload(source, { server: sdk.line.url, key: 'left' });
  await expect.poll(() => task.progress.phase).toBe('sending');
  await task.abort();
  await new Promise((resolve) => setImmediate(resolve));
  process.off('uncaughtException', note);
  expect(uncaught).toEqual([]);
});

test('an iterator that answers next() without promises arrives', async () => {
  const bytes = bytesOf(3 * MiB, 'sync');
  const pieces = [bytes.subarray(0, MiB), bytes.subarray(MiB)];
  const next = () => ({ done: pieces.length === 0, value: pieces.shift() });
  const source = { [Symbol.asyncIterator]: () => ({ next }) } as unknown as AsyncIterable<Uint8Array>;
  await upload(source, { server: sdk.line.url, key: 'sync' }).finished;
  await expectStored('sync', bytes);
});

test.each([Uint16Array.of(0x1234), 'text', new ArrayBuffer(5), undefined])(
  'pieces that are no bytes (%o) never become an object',
  async (piece) => {
    async function* wrong() {
      yield piece as unknown as Uint8Array;
    }
    const task = upload(wrong(), { server: sdk.line.url, key: 'wrong' });
    await expect(task.finished).rejects.toSatisfy(isUsageError);
    expect(await sdk.gateway.client.look(task.uploadId!)).toMatchObject({ state: 'aborted' });
  },
);

test('nothing goes on with an upload whose first bytes are gone', async () => {
  const task = upload(piecesOf(bytesOf(5)), { server: sdk.line.url, uploadId: 'any' });
  await expect(task.finished).rejects.toSatisfy(isUsageError);
  expect(isSourceError(await task.finished.catch((error: unknown) => error))).toBe(false);
});
