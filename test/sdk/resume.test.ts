import dns from 'node:dns';
import { appendFile, utimes, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { openSource } from '../../src/sdk/index.ts';
import {
  isInterruptedError,
  isSourceError,
  isTemporaryError,
  isUsageError,
  PartwayClient,
  resumeFingerprint,
  type UploadEvent,
  upload,
} from '../../src/sdk/node/index.ts';
import { nodeHashes } from '../../src/sdk/node/node-hashes.ts';
import { fetchTransport } from '../../src/sdk/transport/fetch-transport.ts';
import { RunningUpload } from '../../src/sdk/upload.ts';
import { bytesOf } from '../protocols/rest/rest-client.ts';
import {
  bytesIn,
  isComplete,
  isCreate,
  isData,
  isPart,
  isRange,
  isSigned,
  MiB,
  memoryStore,
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
}

/** Interrupts an upload while its parts after the first `whole` ones hang. */
async function interrupted(path: string, key: string, whole: number, mode: 'relay' | 'direct' = 'relay') {
  const resumeStore = memoryStore();
  const proxy = mode === 'relay' ? sdk.line : sdk.storeLine!;
  const held = proxy.rule({
    match: mode === 'relay' ? isPart : isSigned,
    after: whole,
    fault: { kind: 'hold', at: { on: 'request', afterBytes: MiB } },
  });
  const stop = new AbortController();
  const task = upload({ path }, { server: sdk.line.url, key, mode, parallel: 2, resumeStore, signal: stop.signal });
  await held.reached;
  await expect.poll(() => task.progress.storedParts).toBe(whole);
  stop.abort();
  await expect(task.finished).rejects.toSatisfy(isInterruptedError);
  sdk.clear();
  return { resumeStore, uploadId: task.uploadId, task };
}

test('interrupted and called again, it sends only what is missing', async () => {
  const bytes = bytesOf(8 * partBytes, 'again');
  const path = await sdk.fileOf('again', bytes);
  const { resumeStore, uploadId } = await interrupted(path, 'again', 3);
  const events: UploadEvent[] = [];
  const onEvent = (event: UploadEvent) => events.push(event);
  const result = await upload({ path }, { server: sdk.line.url, key: 'again', mode: 'relay', resumeStore, onEvent })
    .finished;
  expect(result).toMatchObject({ upload: { id: uploadId }, resumedBytes: 3 * partBytes, sentBytes: 5 * partBytes });
  expect(events[0]).toMatchObject({ type: 'start', resumedBytes: 3 * partBytes });
  expect(bytesIn(sdk.line, isData)).toBe(5 * partBytes);
  expect(result.digest).toBeDefined();
  expect(resumeStore.records.size).toBe(0);
  await expectStored('again', bytes);
});

test('interrupted on the direct way, what was reported is not sent again', async () => {
  if (sdk.storeLine === undefined) return;
  const bytes = bytesOf(6 * partBytes, 'direct-again');
  const path = await sdk.fileOf('direct-again', bytes);
  const { resumeStore } = await interrupted(path, 'direct-again', 2, 'direct');
  const options = { server: sdk.line.url, key: 'direct-again', mode: 'direct' as const, resumeStore };
  expect(await upload({ path }, options).finished).toMatchObject({ resumedBytes: 2 * partBytes });
  expect(bytesIn(sdk.storeLine, isSigned)).toBe(4 * partBytes);
  await expectStored('direct-again', bytes);
});

test('by its id alone it goes on, too', async () => {
  const bytes = bytesOf(4 * partBytes, 'by-id');
  const path = await sdk.fileOf('by-id', bytes);
  const { uploadId } = await interrupted(path, 'by-id', 2);
  const result = await upload({ path }, { server: sdk.line.url, mode: 'relay', uploadId }).finished;
  expect(result).toMatchObject({ upload: { id: uploadId }, sentBytes: 2 * partBytes });
  await expectStored('by-id', bytes);
});

test('an upload of another size is not gone on with', async () => {
  const path = await sdk.fileOf('of-size', bytesOf(3 * partBytes, 'of-size'));
  const { uploadId } = await interrupted(path, 'of-size', 1);
  const other = await sdk.fileOf('of-another', bytesOf(2 * partBytes, 'of-another'));
  const task = upload({ path: other }, { server: sdk.line.url, uploadId });
  await expect(task.finished).rejects.toSatisfy(isSourceError);
  expect(bytesIn(sdk.line, isData)).toBe(0);
});

test('by its id it goes on neither with another source nor to another key', async () => {
  const path = await sdk.fileOf('id-one', bytesOf(4 * partBytes, 'id-one'));
  const { uploadId } = await interrupted(path, 'id-one', 2);
  const other = await sdk.fileOf('id-other', bytesOf(4 * partBytes, 'id-other'));
  const options = { server: sdk.line.url, mode: 'relay' as const, uploadId };
  await expect(upload({ path: other }, options).finished).rejects.toMatchObject({ code: 'source_changed' });
  await expect(upload({ path }, { ...options, key: 'elsewhere' }).finished).rejects.toSatisfy(isUsageError);
  expect(bytesIn(sdk.line, isData)).toBe(0);
});

test('given up after it was interrupted, nothing of it is left', async () => {
  const path = await sdk.fileOf('given-up', bytesOf(4 * partBytes, 'given-up'));
  const { resumeStore, task } = await interrupted(path, 'given-up', 2);
  expect(resumeStore.records.size).toBe(1);
  await task.abort();
  expect(resumeStore.records.size).toBe(0);
  await expect(upload({ path }, { server: sdk.line.url, uploadId: task.uploadId }).finished).rejects.toMatchObject({
    code: 'upload_gone',
  });
});

test('with restart, an upload whose creation was never heard of is not left open', async () => {
  const path = await sdk.fileOf('unheard', bytesOf(2 * partBytes, 'unheard'));
  const resumeStore = memoryStore();
  sdk.line.rule({ match: isCreate, fault: { kind: 'dropAnswer' } });
  const options = { server: sdk.line.url, key: 'unheard', mode: 'relay' as const, resumeStore };
  await expect(upload({ path }, { ...options, giveUpAfterMs: 1 }).finished).rejects.toSatisfy(isTemporaryError);
  expect(resumeStore.records.size).toBe(1);
  sdk.clear();
  await upload({ path }, { ...options, restart: true }).finished;
  const client = new PartwayClient({ server: sdk.line.url });
  const { uploads } = await client.listPage({ prefix: 'unheard' });
  expect(uploads.map(({ state }) => state).toSorted()).toEqual(['aborted', 'completed']);
});

test('the server is the same with and without a slash at its end', () => {
  const of = (server: string) => resumeFingerprint({ server, key: 'k' }, '/a');
  expect(of('http://127.0.0.1:8080/')).toBe(of('http://127.0.0.1:8080'));
});

test('a source that changed in between stops it; with restart it begins anew', async () => {
  const path = await sdk.fileOf('changed', bytesOf(4 * partBytes, 'changed'));
  const { resumeStore, uploadId } = await interrupted(path, 'changed', 1);
  await appendFile(path, 'more');
  const options = { server: sdk.line.url, key: 'changed', mode: 'relay' as const, resumeStore };
  await expect(upload({ path }, options).finished).rejects.toMatchObject({
    name: 'SourceError',
    code: 'source_changed',
  });
  expect(await sdk.gateway.client.look(uploadId!)).toMatchObject({ state: 'open' });
  const result = await upload({ path }, { ...options, restart: true }).finished;
  expect(result.upload.id).not.toBe(uploadId);
  expect(await sdk.gateway.client.look(uploadId!)).toMatchObject({ state: 'aborted' });
  await expectStored('changed', Buffer.concat([bytesOf(4 * partBytes, 'changed'), Buffer.from('more')]));
});

test.each([
  ['bytes in memory', (bytes: Uint8Array) => bytes],
  ['a Blob', (bytes: Uint8Array) => new Blob([new Uint8Array(bytes)])],
])('%s of the same length and another content are not put behind what was sent', async (name, sourceOf) => {
  const options = { server: sdk.line.url, key: `same-length ${name}`, mode: 'relay', parallel: 1 } as const;
  const resumeStore = memoryStore();
  const held = sdk.line.rule({ match: isPart, after: 1, fault: { kind: 'hold' } });
  const stop = new AbortController();
  const [first, second] = [bytesOf(2 * partBytes, 'first'), bytesOf(2 * partBytes, 'second')];
  const task = upload(sourceOf(first), { ...options, resumeStore, signal: stop.signal });
  await held.reached;
  stop.abort();
  await expect(task.finished).rejects.toSatisfy(isInterruptedError);
  sdk.clear();
  const other = upload(sourceOf(second), { ...options, resumeStore });
  await expect(other.finished).rejects.toMatchObject({ code: 'source_changed' });
  const again = await upload(sourceOf(first), { ...options, resumeStore }).finished;
  expect(again).toMatchObject({ upload: { id: task.uploadId }, resumedBytes: partBytes });
  await expectStored(options.key, first);
});

test('a file that was written to is another, though its time of modification is what it was', async () => {
  const bytes = bytesOf(3 * partBytes, 'touched');
  const path = await sdk.fileOf('touched', bytes);
  await utimes(path, 1e9, 1e9);
  const { resumeStore } = await interrupted(path, 'touched', 1);
  await writeFile(path, bytesOf(3 * partBytes, 'other'), { flag: 'r+' });
  await utimes(path, 1e9, 1e9);
  const task = upload({ path }, { server: sdk.line.url, key: 'touched', resumeStore });
  await expect(task.finished).rejects.toMatchObject({ code: 'source_changed' });
});

test('a source that changes while it is sent is never completed', async () => {
  const path = await sdk.fileOf('changes', bytesOf(2 * partBytes, 'changes'));
  const held = sdk.line.rule({ match: isPart, times: 1, fault: { kind: 'hold', at: { on: 'answer' } } });
  const task = upload({ path }, { server: sdk.line.url, mode: 'relay' });
  await held.reached;
  await appendFile(path, 'more');
  held.release();
  await expect(task.finished).rejects.toMatchObject({ name: 'SourceError', code: 'source_changed' });
  expect(sdk.line.requests.some(isComplete)).toBe(false);
});

test("create's lost answer makes no second upload", async () => {
  const path = await sdk.fileOf('created', bytesOf(5, 'created'));
  sdk.line.rule({ match: isCreate, times: 1, fault: { kind: 'dropAnswer' } });
  await upload({ path }, { server: sdk.line.url, key: 'created' }).finished;
  expect((await sdk.gateway.client.list('?prefix=created')).uploads).toHaveLength(1);
});

test("complete's lost answer, and a call after it, get the same object", async () => {
  const bytes = bytesOf(5, 'completed');
  const path = await sdk.fileOf('completed', bytes);
  const resumeStore = memoryStore();
  sdk.line.rule({ match: isComplete, fault: { kind: 'dropAnswer' } });
  const options = { server: sdk.line.url, key: 'completed', resumeStore };
  await expect(upload({ path }, { ...options, giveUpAfterMs: 1 }).finished).rejects.toSatisfy(isTemporaryError);
  sdk.clear();
  const { upload: completed } = await upload({ path }, options).finished;
  expect(completed).toMatchObject({ state: 'completed' });
  expect(sdk.line.requests.filter(isData)).toEqual([]);
  expect((await sdk.gateway.client.list('?prefix=completed')).uploads).toHaveLength(1);
  await expectStored('completed', bytes);
});

test('an upload that somebody gave up is begun anew', async () => {
  const bytes = bytesOf(3 * partBytes, 'anew');
  const path = await sdk.fileOf('anew', bytes);
  const { resumeStore, uploadId } = await interrupted(path, 'anew', 1);
  await sdk.gateway.client.request('DELETE', `/uploads/${uploadId}`);
  const events: UploadEvent[] = [];
  const onEvent = (event: UploadEvent) => events.push(event);
  await upload({ path }, { server: sdk.line.url, key: 'anew', mode: 'relay', resumeStore, onEvent }).finished;
  expect(events.map(({ type }) => type)).toEqual(['restart', 'start', 'mode']);
  await expectStored('anew', bytes);
});

test('by fetch, which can not tell how much it sent, a line that carries no whole part carries smaller ranges', async () => {
  const bytes = bytesOf(2 * partBytes, 'by-fetch');
  const fault = { kind: 'reset', at: { on: 'request', afterBytes: 1.5 * MiB } } as const;
  sdk.line.rule({
    match: (request) => isData(request) && Number(request.headers.get('content-length')) > 1.5 * MiB,
    fault,
  });
  const platform = { transport: fetchTransport, hashes: nodeHashes, open: openSource };
  const options = { server: sdk.line.url, key: 'by-fetch', mode: 'relay', giveUpAfterMs: 20_000 } as const;
  await new RunningUpload(platform, new Blob([bytes]), options).finished;
  await expectStored('by-fetch', bytes);
});

test('a line that breaks every 300 KiB is enough', async () => {
  const bytes = bytesOf(partBytes + MiB, 'breaks');
  const path = await sdk.fileOf('breaks', bytes);
  sdk.line.rule({
    match: (request) => isData(request) && Number(request.headers.get('content-length')) > 300 * 1024,
    fault: { kind: 'reset', at: { on: 'request', afterBytes: 300 * 1024 } },
  });
  const { retries } = await new Promise<{ retries: number }>((resolve, reject) => {
    const task = upload({ path }, { server: sdk.line.url, key: 'breaks', mode: 'relay', parallel: 1 });
    task.finished.then(() => resolve(task.progress), reject);
  });
  expect(retries).toBeGreaterThan(0);
  expect(sdk.line.requests.some(isRange)).toBe(true);
  await expectStored('breaks', bytes);
});

test('a gateway that is full is asked again when it said', async () => {
  const path = await sdk.fileOf('full', bytesOf(5, 'full'));
  const problem = { type: 'about:blank', status: 503, title: 'Overloaded', detail: 'Full.', code: 'overloaded' };
  sdk.line.rule({ match: isPart, times: 1, fault: { kind: 'answer', status: 503, body: JSON.stringify(problem) } });
  const events: UploadEvent[] = [];
  const onEvent = (event: UploadEvent) => events.push(event);
  await upload({ path }, { server: sdk.line.url, key: 'full', mode: 'relay', onEvent }).finished;
  expect(events.filter(({ type }) => type === 'retry')).toMatchObject([
    { partNumber: 1, error: { code: 'overloaded', message: 'Full.' } },
  ]);
});

test('a gateway that has gone silent has lost the request', async () => {
  const bytes = bytesOf(5, 'silent');
  const path = await sdk.fileOf('silent', bytes);
  sdk.line.rule({ match: isPart, times: 1, fault: { kind: 'stall' } });
  await upload({ path }, { server: sdk.line.url, key: 'silent', timeoutMs: 200 }).finished;
  await expectStored('silent', bytes);
});

test('where nothing gets through for too long, it says so and can go on later', async () => {
  const bytes = bytesOf(5, 'hopeless');
  const path = await sdk.fileOf('hopeless', bytes);
  const resumeStore = memoryStore();
  sdk.line.rule({ match: isPart, fault: { kind: 'reset' } });
  const options = { server: sdk.line.url, key: 'hopeless', resumeStore };
  const task = upload({ path }, { ...options, giveUpAfterMs: 500 });
  await expect(task.finished).rejects.toMatchObject({
    code: 'gave_up',
    isResumable: true,
    uploadId: expect.any(String),
  });
  sdk.clear();
  expect((await upload({ path }, options).finished).upload.id).toBe(task.uploadId);
  await expectStored('hopeless', bytes);
});

test('what takes long has not failed yet', async () => {
  const bytes = bytesOf(2 * partBytes, 'slow');
  const path = await sdk.fileOf('slow', bytes);
  sdk.line.rule({ match: isPart, after: 1, times: 1, fault: { kind: 'answer', status: 503, delayMs: 1000 } });
  const options = { server: sdk.line.url, key: 'slow', mode: 'relay', parallel: 1, giveUpAfterMs: 700 } as const;
  await upload({ path }, options).finished;
  await expectStored('slow', bytes);
});

test('a host of several addresses where nothing listens is a line that may come back', async () => {
  const lookup = vi.spyOn(dns, 'lookup').mockImplementation(((_host: string, _options: unknown, answer: unknown) =>
    (answer as (error: null, found: unknown) => void)(null, [
      { address: '::1', family: 6 },
      { address: '127.0.0.1', family: 4 },
    ])) as never);
  try {
    const task = upload(bytesOf(1), { server: 'http://two.test:1', key: 'k', giveUpAfterMs: 300 });
    await expect(task.finished).rejects.toMatchObject({ code: 'gave_up' });
  } finally {
    lookup.mockRestore();
  }
});

test.each([520, 522, 529, 599])('a proxy that answers %d is asked again', async (status) => {
  sdk.line.rule({ match: isPart, times: 1, fault: { kind: 'answer', status, body: '<html>' } });
  const { upload: made } = await upload(bytesOf(5), { server: sdk.line.url, key: `status-${status}` }).finished;
  expect(made.state).toBe('completed');
});

test('an object that is there counts, though what was remembered of it can not be dropped', async () => {
  const resumeStore = {
    ...memoryStore(),
    delete: async () => {
      throw new Error('read-only');
    },
  };
  const { upload: made } = await upload(bytesOf(5), { server: sdk.line.url, key: 'undropped', resumeStore }).finished;
  expect(made.state).toBe('completed');
});
