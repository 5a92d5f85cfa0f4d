import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import {
  isAbortedError,
  isRefusedError,
  isTemporaryError,
  isUsageError,
  PartwayClient,
  type ResumeStore,
  type UploadEvent,
  type UploadOptions,
  upload,
} from '../../src/sdk/node/index.ts';
import { bytesOf } from '../protocols/rest/rest-client.ts';
import {
  isComplete,
  isCreate,
  isData,
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

const html = '<html><body>nginx</body></html>';
const impatient = { giveUpAfterMs: 1, mode: 'relay' } as const;

async function serve(listener: RequestListener): Promise<AsyncDisposable & { readonly url: string }> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

describe('what is in front of a gateway', () => {
  test.each([404, 410])('and answers %d of its own has not dropped the upload', async (status) => {
    const bytes = bytesOf(2 * partBytes, 'in-front');
    const path = await sdk.fileOf(`in-front-${status}`, bytes);
    sdk.line.rule({ match: isData, after: 1, times: 1, fault: { kind: 'answer', status, body: html } });
    const events: UploadEvent[] = [];
    const result = await upload(
      { path },
      { server: sdk.line.url, mode: 'relay', parallel: 1, onEvent: (event) => events.push(event) },
    ).finished;
    expect(events.map(({ type }) => type)).toEqual(['start', 'mode', 'retry']);
    expect((await sdk.gateway.client.list(`?prefix=in-front-${status}`)).uploads).toMatchObject([
      { id: result.upload.id, state: 'completed' },
    ]);
  });

  test('and is no gateway at all is told as such, with its address', async () => {
    await using server = await serve((_, answer) => answer.writeHead(404).end(html));
    const failure = await upload(bytesOf(1), { server: server.url, key: 'k' }).finished.catch(
      (error: unknown) => error,
    );
    expect(failure).toSatisfy(isRefusedError);
    expect(failure).toMatchObject({ code: 'no_gateway', message: expect.stringContaining(server.url) });
  });

  test('and has a path that the gateway has not points at the URL', async () => {
    const task = upload(bytesOf(1), { server: `${sdk.gateway.url}/api`, key: 'k' });
    await expect(task.finished).rejects.toThrow(`${sdk.gateway.url}/api`);
  });

  test.each([
    ['{}', isCreate],
    ['null', isCreate],
    ['{"state":"completed"}', isComplete],
    ['{"id":"another","state":"completed","receivedBytes":1}', isComplete],
    ['{}', isData],
  ])('and answers 200 with %s is not believed', async (body, match) => {
    sdk.line.rule({ match, fault: { kind: 'answer', status: 200, body } });
    const task = upload(bytesOf(1), { server: sdk.line.url, key: 'not-believed', ...impatient });
    await expect(task.finished).rejects.toMatchObject({ name: 'TemporaryError', cause: { code: 'no_gateway' } });
  });

  test('and never ends its answer is left', async () => {
    await using server = await serve((_, answer) => {
      const piece = Buffer.alloc(1024 * 1024, ' ');
      const more = () => void answer.write(piece, () => setImmediate(more));
      more();
    });
    await expect(new PartwayClient({ server: server.url }).look('u')).rejects.toSatisfy(isTemporaryError);
  });

  test('and breaks off a body on a connection that was kept is not sent it again unheard', async () => {
    let bodies = 0;
    await using server = await serve((request, answer) => {
      if (request.method === 'GET') return void answer.writeHead(404).end(html);
      bodies++;
      let sizeBytes = 0;
      request.on('data', (piece: Buffer) => {
        sizeBytes += piece.length;
        if (sizeBytes > 2 * 1024 * 1024) request.socket.resetAndDestroy();
      });
    });
    const client = new PartwayClient({ server: server.url });
    await client.look('u').catch(() => {});
    const pieces = async function* () {
      for (let piece = 0; piece < 64; piece++) yield new Uint8Array(128 * 1024);
    };
    const body = { sizeBytes: 64 * 128 * 1024, pieces };
    await expect(client.putPart('u', 1, body)).rejects.toMatchObject({ name: 'TemporaryError', isBreak: true });
    expect(bodies).toBe(1);
  });
});

describe('what a caller hands in', () => {
  test('and never answers does not keep an upload that is given up', async () => {
    const options = { server: sdk.line.url, key: 'never' };
    const abortOnceAsked = async (given: (never: () => Promise<never>) => Partial<UploadOptions>) => {
      const asked = Promise.withResolvers<void>();
      const never = () => {
        asked.resolve();
        return new Promise<never>(() => {});
      };
      const task = upload(bytesOf(1), { ...options, ...given(never) });
      await asked.promise;
      await task.abort();
      await expect(task.finished).rejects.toSatisfy(isAbortedError);
    };
    await abortOnceAsked((never) => ({ apiKey: never }));
    await abortOnceAsked((never) => ({ resumeStore: { ...memoryStore(), get: never } }));
    await abortOnceAsked((never) => ({ resumeStore: { ...memoryStore(), set: never } }));
    expect(sdk.line.requests).toEqual([]);
  });

  test('as a key with a line break is named as such', async () => {
    const apiKey = async () => 'pw_key\n';
    await expect(upload(bytesOf(1), { server: sdk.line.url, key: 'k', apiKey }).finished).rejects.toSatisfy(
      isUsageError,
    );
  });

  test('as a record of an upload to another key is not gone on with', async () => {
    const bytes = bytesOf(9, 'meant');
    const resumeStore = memoryStore();
    const other = await sdk.gateway.client.create({ key: 'not-meant', size: bytes.length });
    const set = resumeStore.set;
    const misled: ResumeStore = { ...resumeStore, set: (name, record) => set(name, { ...record, uploadId: other.id }) };
    const path = await sdk.fileOf('meant', bytes);
    sdk.line.rule({ match: isData, fault: { kind: 'answer', status: 403 } });
    await upload({ path }, { server: sdk.line.url, resumeStore: misled, mode: 'relay' }).finished.catch(() => {});
    sdk.clear();
    const { upload: made } = await upload({ path }, { server: sdk.line.url, resumeStore }).finished;
    expect(made).toMatchObject({ key: 'meant', state: 'completed' });
    expect(await sdk.gateway.client.look(other.id)).toMatchObject({ state: 'open', receivedBytes: 0 });
  });
});
