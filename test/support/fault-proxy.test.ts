import { randomBytes } from 'node:crypto';
import {
  Agent,
  createServer,
  request as httpRequest,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type FaultProxy, startFaultProxy } from './fault-proxy.ts';

/** What the target saw of a request. */
interface Received {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingMessage['headers'];
  readonly trailers: IncomingMessage['trailers'];
  readonly body: Buffer;
  readonly whole: boolean;
}

let target: Server;
let received: Received[];
let heard: () => void;
let connections: number;
let brokenConnections: string[];
let proxy: FaultProxy;
let agent: Agent;

beforeEach(async () => {
  received = [];
  connections = 0;
  brokenConnections = [];
  heard = () => undefined;
  target = createServer(answer);
  target.on('connection', (socket) => {
    connections += 1;
    socket.on('error', (error: NodeJS.ErrnoException) => brokenConnections.push(error.code ?? error.message));
  });
  await new Promise<void>((resolve) => target.listen(0, '127.0.0.1', resolve));
  proxy = await startFaultProxy({ target: `http://127.0.0.1:${(target.address() as AddressInfo).port}` });
  agent = new Agent({ keepAlive: true, maxSockets: 1 });
});

afterEach(async () => {
  agent.destroy();
  await proxy.stop();
  target.closeAllConnections();
  await new Promise((resolve) => target.close(resolve));
});

/** Echoes the body; `/chunked` in chunks, `/close` until the end of the connection. HEAD speaks of 5 bytes. */
function answer(request: IncomingMessage, response: ServerResponse): void {
  const chunks: Buffer[] = [];
  const { method = '', url = '', headers } = request;
  function done(whole: boolean): void {
    received.push({ method, url, headers, trailers: request.trailers, body: Buffer.concat(chunks), whole });
    heard();
  }
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('error', () => done(false));
  request.on('end', () => {
    done(true);
    const body = Buffer.concat(chunks);
    if (url === '/nothing') return void response.writeHead(204).end();
    if (method === 'HEAD') return void response.writeHead(200, { 'content-length': 5 }).end();
    if (url === '/close') response.setHeader('connection', 'close').removeHeader('transfer-encoding');
    else if (url !== '/chunked') response.setHeader('content-length', body.length);
    response.write(body);
    response.end();
  });
}

async function targetHas(count: number): Promise<Received[]> {
  while (received.length < count) {
    await new Promise<void>((resolve) => {
      heard = resolve;
    });
  }
  return received;
}

interface Answer {
  readonly status: number;
  readonly keptAlive: boolean;
  readonly body: Buffer;
}

interface Sending extends Promise<Answer> {
  /** Goes away, as a client that gave up. */
  leave(): void;
}

function send(
  path: string,
  input: {
    method?: string;
    body?: Buffer;
    headers?: Record<string, string>;
    chunked?: boolean;
    trailers?: Record<string, string>;
    base?: string;
  } = {},
): Sending {
  const {
    method = input.body === undefined ? 'GET' : 'PUT',
    body,
    headers = {},
    chunked = false,
    trailers = {},
    base = proxy.url,
  } = input;
  const request = httpRequest(`${base}${path}`, {
    agent,
    method,
    headers: {
      ...(body !== undefined && (chunked ? { 'transfer-encoding': 'chunked' } : { 'content-length': body.length })),
      ...headers,
    },
  });
  if (chunked) request.addTrailers(trailers);
  const sending = new Promise<Answer>((resolve, reject) => {
    request.on('error', reject);
    request.on('response', (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('error', reject);
      response.on('end', () => {
        const keptAlive = response.headers.connection !== 'close';
        resolve({ status: response.statusCode ?? 0, keptAlive, body: Buffer.concat(chunks) });
      });
    });
    if (headers.expect === undefined) request.end(body);
    else request.on('continue', () => request.end(body));
  });
  // A test may look at the failure late.
  sending.catch(() => undefined);
  return Object.assign(sending, { leave: () => void request.destroy() });
}

const MiB = 1024 * 1024;
/** How a client sees its connection end, in the place of an answer. */
async function failure(sending: Promise<unknown>): Promise<string | undefined> {
  return sending.then(
    () => undefined,
    (error: NodeJS.ErrnoException) => error.code,
  );
}

/** Speaks by hand, to see what a client library hides: the order of answers, and whether it is FIN or RST. */
async function speak(text: string): Promise<{ heard: string; end: string }> {
  const { hostname, port } = new URL(proxy.url);
  const socket = connect(Number(port), hostname);
  socket.write(text);
  let heard = '';
  socket.setEncoding('latin1').on('data', (chunk: string) => {
    heard += chunk;
  });
  return new Promise((resolve) => {
    socket.on('end', () => resolve({ heard, end: 'FIN' }));
    socket.on('error', (error: NodeJS.ErrnoException) => resolve({ heard, end: error.code ?? error.message }));
  });
}

const handmade = `PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n${'a'.repeat(1000)}`;

describe('without a rule', () => {
  test('passes requests and answers as they are, over one connection', async () => {
    const body = randomBytes(3 * MiB);
    const answers = [await send('/a?x=1&y=', { body }), await send('/b'), await send('/c', { body: Buffer.alloc(0) })];
    expect(answers.map((found) => found.status)).toEqual([200, 200, 200]);
    expect(answers[0]?.body.equals(body)).toBe(true);
    expect(received.map(({ method, url, whole }) => ({ method, url, whole }))).toEqual([
      { method: 'PUT', url: '/a?x=1&y=', whole: true },
      { method: 'GET', url: '/b', whole: true },
      { method: 'PUT', url: '/c', whole: true },
    ]);
    expect(received[0]?.body.equals(body)).toBe(true);
    expect(connections).toBe(1);
  });

  test('leaves Host as the client sent it', async () => {
    await send('/', { headers: { host: 'store.example:9000' } });
    expect(received[0]?.headers.host).toBe('store.example:9000');
  });

  test('logs method, path, query, status and sizes', async () => {
    await send('/bucket/a%20key?partNumber=7&uploadId=u', { body: randomBytes(1000) });
    await send('/nothing');
    expect(proxy.requests).toMatchObject([
      { method: 'PUT', path: '/bucket/a%20key', status: 200, requestBytes: 1000, answerBytes: 1000, end: 'answered' },
      { method: 'GET', path: '/nothing', status: 204, requestBytes: 0, answerBytes: 0, end: 'answered' },
    ]);
    expect(proxy.requests[0]?.query.get('partNumber')).toBe('7');
  });

  test('finds the end of bodies sent in chunks, both ways', async () => {
    const body = randomBytes(MiB + 1);
    const found = await send('/chunked', { body, chunked: true });
    expect(found.body.equals(body)).toBe(true);
    expect((await send('/next')).status).toBe(200);
    expect(proxy.requests[0]).toMatchObject({ requestBytes: body.length, answerBytes: body.length });
    expect(connections).toBe(1);
  });

  test('passes an answer that lasts until the connection ends', async () => {
    const body = randomBytes(100_000);
    expect((await send('/close', { body })).body.equals(body)).toBe(true);
    expect((await proxy.waitFor((request) => request.end !== undefined)).end).toBe('answered');
    expect((await send('/again')).status).toBe(200);
  });

  test('passes 100 Continue, and answers without a body', async () => {
    expect((await send('/a', { body: Buffer.from('abc'), headers: { expect: '100-continue' } })).body.toString()).toBe(
      'abc',
    );
    expect((await send('/b', { method: 'HEAD' })).status).toBe(200);
    expect((await send('/nothing')).status).toBe(204);
    expect((await send('/c')).status).toBe(200);
    expect(connections).toBe(1);
  });

  test('tells the target when a client leaves in the middle of its body', async () => {
    const client = send('/a', { body: randomBytes(10), headers: { 'content-length': '1000' } });
    await proxy.waitFor((request) => request.requestBytes === 10);
    client.leave();
    expect((await targetHas(1))[0]).toMatchObject({ whole: false });
    expect((await proxy.waitFor((request) => request.end !== undefined)).end).toBe('cut');
  });

  test('passes trailers, and knows where they end', async () => {
    await send('/a', { body: Buffer.from('abc'), chunked: true, trailers: { 'x-sum': '1', 'x-other': '2' } });
    await send('/b');
    expect(received[0]?.trailers).toEqual({ 'x-sum': '1', 'x-other': '2' });
    expect(proxy.requests.map(({ method, path }) => `${method} ${path}`)).toEqual(['PUT /a', 'GET /b']);
  });

  test('answers requests that were sent at once in their order', async () => {
    const { heard } = await speak(`${handmade}GET /b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
    expect(heard.match(/HTTP\/1.1 200/g)).toHaveLength(2);
    expect(proxy.requests).toMatchObject([
      { path: '/a', status: 200, requestBytes: 1000, answerBytes: 1000, end: 'answered' },
      { path: '/b', status: 200, requestBytes: 0, answerBytes: 0, end: 'answered' },
    ]);
  });

  test('resets the client when nobody listens at the target', async () => {
    target.close();
    target.closeAllConnections();
    expect(await speak(handmade)).toEqual({ heard: '', end: 'ECONNRESET' });
  });

  test('holds a client back whose target does not read', async () => {
    target.removeAllListeners('request').on('request', () => undefined);
    const whole = 256 * MiB;
    const request = httpRequest(proxy.url, { method: 'PUT', headers: { 'content-length': whole } });
    request.on('error', () => undefined);
    let handedOver = 0;
    const piece = Buffer.alloc(MiB);
    function more(error?: Error | null): void {
      if (error || handedOver === whole) return;
      request.write(piece, (failed) => {
        if (!failed) handedOver += MiB;
        more(failed);
      });
    }
    more();
    await quiet(() => handedOver);
    request.destroy();
    expect(handedOver).toBeLessThan(64 * MiB);
  });
});

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(5);
}

/** Resolves once the figure has stopped moving. */
async function quiet(figure: () => number): Promise<void> {
  for (let before = -1, still = 0; still < 5; ) {
    await sleep(40);
    const now = figure();
    still = now === before ? still + 1 : 0;
    before = now;
  }
}

describe('reset', () => {
  test('before the request is forwarded: the target never hears of it', async () => {
    proxy.rule({ match: () => true, times: 1, fault: { kind: 'reset' } });
    expect(await failure(send('/a', { body: Buffer.from('abc') }))).toBe('ECONNRESET');
    await send('/b');
    expect(received.map(({ url }) => url)).toEqual(['/b']);
    expect(proxy.requests[0]).toMatchObject({ fault: 'reset', end: 'cut', requestBytes: 0, status: undefined });
  });

  test('after so many bytes of the body: the target has exactly those', async () => {
    const body = randomBytes(MiB);
    proxy.rule({ match: () => true, times: 1, fault: { kind: 'reset', at: { on: 'request', afterBytes: 300_001 } } });
    expect(await failure(send('/a', { body }))).toBe('ECONNRESET');
    const [seen] = await targetHas(1);
    expect(seen?.whole).toBe(false);
    expect(proxy.requests[0]?.requestBytes).toBe(300_001);
  });

  test.each([
    ['before the request', { on: 'request' }, ''],
    ['within the request', { on: 'request', afterBytes: 10 }, ''],
    ['before the answer', { on: 'answer' }, ''],
    ['within the answer', { on: 'answer', afterBytes: 10 }, /\r\n\r\na{10}$/],
  ] as const)('%s is RST to both sides', async (_where, at, heard) => {
    proxy.rule({ match: () => true, fault: { kind: 'reset', at } });
    const end = await speak(handmade);
    expect(end.end).toBe('ECONNRESET');
    expect(end.heard).toMatch(heard);
    if (connections > 0) await until(() => brokenConnections.length > 0);
    expect(brokenConnections).toEqual(connections > 0 ? ['ECONNRESET'] : []);
  });
});

describe('stall', () => {
  test.each([
    ['before the request', { on: 'request' }, { requestBytes: 0, status: undefined }],
    ['within the request', { on: 'request', afterBytes: 500 }, { requestBytes: 500, status: undefined }],
    ['before the answer', { on: 'answer' }, { requestBytes: 1000, status: 200, answerBytes: 0 }],
    ['within the answer', { on: 'answer', afterBytes: 500 }, { requestBytes: 1000, status: 200, answerBytes: 500 }],
  ] as const)('%s, until it is cleared', async (_where, at, state) => {
    const rule = proxy.rule({ match: () => true, fault: { kind: 'stall', at } });
    const client = send('/a', { body: randomBytes(1000) });
    expect(await rule.reached).toMatchObject({ ...state, end: undefined });
    proxy.clear();
    expect(await failure(client)).toBe('ECONNRESET');
    expect((await send('/b')).status).toBe(200);
  });

  test('is cleared with RST', async () => {
    const rule = proxy.rule({ match: () => true, fault: { kind: 'stall', at: { on: 'answer' } } });
    const speaking = speak(handmade);
    await rule.reached;
    proxy.clear();
    expect((await speaking).end).toBe('ECONNRESET');
  });

  test('ends with the proxy', async () => {
    const rule = proxy.rule({ match: () => true, fault: { kind: 'stall' } });
    const client = send('/a');
    await rule.reached;
    await proxy.stop();
    expect(await failure(client)).toBe('ECONNRESET');
  });
});

test('slow lets so many bytes a second pass', async () => {
  proxy.rule({ match: () => true, times: 1, fault: { kind: 'slow', bytesPerSecond: 100_000 } });
  proxy.rule({ match: () => true, fault: { kind: 'slow', bytesPerSecond: 100_000, on: 'answer' } });
  const body = randomBytes(30_000);
  for (const _direction of ['request', 'answer']) {
    const begin = performance.now();
    expect((await send('/a', { body })).body.equals(body)).toBe(true);
    expect(performance.now() - begin).toBeGreaterThan(250);
  }
});

describe('answer', () => {
  test('answers an S3 error in the place of the target, and the connection lives on', async () => {
    proxy.rule({ match: ({ path }) => path === '/a', times: 1, fault: { kind: 'answer', status: 503 } });
    const found = await send('/a', { body: randomBytes(MiB) });
    expect(found.status).toBe(503);
    expect(found.keptAlive).toBe(true);
    expect(found.body.toString()).toContain('<Code>SlowDown</Code>');
    await send('/b');
    expect(received.map(({ url }) => url)).toEqual(['/b']);
    expect(proxy.requests[0]).toMatchObject({ fault: 'answer', status: 503, requestBytes: 0, end: 'answered' });
  });

  test('says what it is told, late', async () => {
    const fault = { kind: 'answer', status: 507, code: 'XMinioStorageFull', delayMs: 100 } as const;
    proxy.rule({ match: () => true, fault });
    const begin = performance.now();
    const found = await send('/a');
    expect(found.status).toBe(507);
    expect(found.body.toString()).toContain('<Code>XMinioStorageFull</Code>');
    expect(performance.now() - begin).toBeGreaterThan(90);
  });

  test('gives a body word for word', async () => {
    proxy.rule({ match: () => true, fault: { kind: 'answer', status: 200, body: '<Error/>\n' } });
    expect(await send('/a')).toMatchObject({ status: 200, body: Buffer.from('<Error/>\n') });
  });

  test('has no body for HEAD', async () => {
    proxy.rule({ match: ({ method }) => method === 'HEAD', fault: { kind: 'answer', status: 500 } });
    expect((await send('/a', { method: 'HEAD' })).status).toBe(500);
    expect((await send('/b')).status).toBe(200);
  });

  test('asks for the body of a client that expects 100 Continue', async () => {
    proxy.rule({ match: () => true, fault: { kind: 'answer', status: 500 } });
    expect((await send('/a', { body: Buffer.from('abc'), headers: { expect: '100-continue' } })).status).toBe(500);
  });

  test('answers before the body was read, and closes', async () => {
    proxy.rule({ match: ({ path }) => path === '/a', fault: { kind: 'answer', status: 500, readBody: false } });
    const client = send('/a', { body: randomBytes(10), headers: { 'content-length': '1000' } });
    expect((await client).status).toBe(500);
    expect((await send('/b')).status).toBe(200);
  });
});

test('dropAnswer lets the target do its work and resets the client', async () => {
  const rule = proxy.rule({ match: () => true, times: 1, fault: { kind: 'dropAnswer' } });
  expect(await speak(handmade)).toEqual({ heard: '', end: 'ECONNRESET' });
  expect(await rule.reached).toMatchObject({ status: 200, requestBytes: 1000, answerBytes: 1000, end: 'cut' });
  expect(received).toMatchObject([{ url: '/a', whole: true }]);
  expect((await send('/b')).status).toBe(200);
});

describe('truncate', () => {
  test('ends the answer early', async () => {
    proxy.rule({ match: () => true, times: 1, fault: { kind: 'truncate', at: { on: 'answer', afterBytes: 600 } } });
    const { heard, end } = await speak(handmade);
    expect(heard).toMatch(/\r\n\r\na{600}$/);
    expect(end).toBe('FIN');
    expect(proxy.requests[0]).toMatchObject({ status: 200, answerBytes: 600, end: 'cut' });
    expect((await send('/b')).status).toBe(200);
  });

  test('ends the request early towards the target, whose answer passes', async () => {
    target.on('clientError', (_error, socket) =>
      socket.end('HTTP/1.1 400 Incomplete\r\nConnection: close\r\nContent-Length: 0\r\n\r\n'),
    );
    proxy.rule({ match: () => true, times: 1, fault: { kind: 'truncate', at: { on: 'request', afterBytes: 600 } } });
    const client = send('/a', { body: randomBytes(100_000) });
    const [seen] = await targetHas(1);
    expect(seen?.whole).toBe(false);
    expect(seen?.body.length).toBe(600);
    expect((await client).status).toBe(400);
    expect((await send('/b')).status).toBe(200);
  });
});

describe('hold', () => {
  test('keeps a request from the target until it is released', async () => {
    const rule = proxy.rule({ match: ({ path }) => path === '/held', fault: { kind: 'hold' } });
    const held = send('/held', { body: Buffer.from('abc') });
    await rule.reached;
    await fetch(`${proxy.url}/other`);
    rule.release();
    expect((await held).body.toString()).toBe('abc');
    expect(received.map(({ url }) => url)).toEqual(['/other', '/held']);
    expect((await send('/held')).status).toBe(200);
  });

  test('keeps an answer from the client until it is released', async () => {
    const rule = proxy.rule({ match: () => true, fault: { kind: 'hold', at: { on: 'answer' } } });
    const held = send('/a', { body: Buffer.from('abc') });
    expect(await rule.reached).toMatchObject({ status: 200, end: undefined });
    expect(received).toMatchObject([{ url: '/a', whole: true }]);
    rule.release();
    expect((await held).status).toBe(200);
  });

  test('delivers the last byte of a client that has long left', async () => {
    const body = randomBytes(MiB);
    const at = { on: 'request', afterBytes: body.length - 1 } as const;
    const rule = proxy.rule({ match: ({ method }) => method === 'PUT', times: 1, fault: { kind: 'hold', at } });
    const held = send('/late', { body });
    await rule.reached;
    held.leave();
    await send('/newer', { body: Buffer.from('newer') });
    rule.release();
    const seen = await targetHas(2);
    expect(seen.map(({ url, whole }) => ({ url, whole }))).toEqual([
      { url: '/newer', whole: true },
      { url: '/late', whole: true },
    ]);
    expect(seen[1]?.body.equals(body)).toBe(true);
    expect((await proxy.waitFor(({ path, end }) => path === '/late' && end !== undefined)).status).toBe(200);
  });

  test('keeps the connection to the target open until it has answered a client that has left', async () => {
    let ended: boolean | undefined;
    target.removeAllListeners('request').on('request', (request: IncomingMessage, response: ServerResponse) => {
      request.resume().on('end', async () => {
        await sleep(100);
        ended = request.socket.readableEnded;
        response.end();
      });
    });
    const rule = proxy.rule({ match: () => true, fault: { kind: 'hold', at: { on: 'request', afterBytes: 2 } } });
    const held = send('/a', { body: Buffer.from('abc') });
    await rule.reached;
    held.leave();
    rule.release();
    await proxy.waitFor(({ status }) => status === 200);
    expect(ended).toBe(false);
  });

  test('resets what is held when it is cleared', async () => {
    const rule = proxy.rule({ match: () => true, fault: { kind: 'hold' } });
    const held = send('/a');
    await rule.reached;
    proxy.clear();
    expect(await failure(held)).toBe('ECONNRESET');
    expect(received).toEqual([]);
  });
});

describe('a rule', () => {
  test('strikes so many requests, after so many', async () => {
    proxy.rule({ match: ({ path }) => path === '/a', after: 1, times: 2, fault: { kind: 'answer', status: 503 } });
    const statuses = [];
    for (const path of ['/a', '/b', '/a', '/b', '/a', '/a']) statuses.push((await send(path)).status);
    expect(statuses).toEqual([200, 200, 503, 200, 503, 200]);
  });

  test('comes before those made later, and gives way once it is removed', async () => {
    const first = proxy.rule({ match: () => true, fault: { kind: 'answer', status: 503 } });
    proxy.rule({ match: () => true, fault: { kind: 'answer', status: 500 } });
    const before = (await send('/a')).status;
    first.remove();
    expect([before, (await send('/a')).status]).toEqual([503, 500]);
  });
});

describe('waitFor', () => {
  test('finds past and future requests', async () => {
    const future = proxy.waitFor(({ path, status }) => path === '/b' && status === 200);
    await send('/a');
    expect((await proxy.waitFor(({ path }) => path === '/a')).status).toBe(200);
    await send('/b');
    expect((await future).end).toBe('answered');
  });

  test('says what it has seen when its time is over', async () => {
    await send('/seen?x=1');
    const waiting = proxy.waitFor(() => false, { deadlineMs: 10 });
    await expect(waiting).rejects.toThrow('GET /seen?x=1 200');
  });
});

test('asks for its target again with each connection, as a restarted server moves', async () => {
  const urls = [`http://127.0.0.1:${(target.address() as AddressInfo).port}`];
  const moving = await startFaultProxy({ target: () => urls[0] ?? '' });
  const other = createServer((_request, response) => response.writeHead(201).end());
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
  const before = (await send('/', { base: moving.url, headers: { connection: 'close' } })).status;
  urls[0] = `http://127.0.0.1:${(other.address() as AddressInfo).port}`;
  const after = (await send('/', { base: moving.url, headers: { connection: 'close' } })).status;
  await moving.stop();
  other.close();
  expect([before, after]).toEqual([200, 201]);
});
