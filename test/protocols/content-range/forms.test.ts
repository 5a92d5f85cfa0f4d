import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openRaw, sayRaw } from '../rest/raw-socket.ts';
import { bytesOf, refused } from '../rest/rest-client.ts';
import { availableStores, type RestGateway, startRestGateway } from '../rest/rest-gateway.ts';
import type { Answer, Exchange } from '../rest/wire.ts';
import { objectAt, progressOf, rangeClient } from './range-client.ts';

const MiB = 1024 ** 2;
const chunkBytes = MiB;
const file = bytesOf(3 * MiB + 12_345, 'file');
const size = file.length;
/** Fits into one packet with its form. */
const ten = bytesOf(10, 'ten');

interface Form {
  readonly body: Buffer;
  readonly headers: Readonly<Record<string, string>>;
}

interface FormEntries {
  readonly before?: Readonly<Record<string, string>>;
  readonly after?: Readonly<Record<string, string>>;
  readonly name?: string;
  readonly type?: string;
}

/** As browsers make it: this is the platform's own FormData. */
async function formOf(bytes: Buffer, { before, after, name = 'files[]', type = '' }: FormEntries = {}): Promise<Form> {
  const form = new FormData();
  for (const [field, value] of Object.entries(before ?? {})) form.append(field, value);
  form.append(name, new Blob([bytes as Buffer<ArrayBuffer>], { type }), 'café "1".bin');
  for (const [field, value] of Object.entries(after ?? {})) form.append(field, value);
  const request = new Response(form);
  return {
    body: Buffer.from(await request.arrayBuffer()),
    headers: {
      'content-type': request.headers.get('content-type') ?? '',
      'content-disposition': 'attachment; filename="caf%C3%A9%20%221%22.bin"',
    },
  };
}

/** A form as no browser makes it. */
function formFrom(text: string, contentType = 'multipart/form-data; boundary=x'): Form {
  return { body: Buffer.from(text, 'latin1'), headers: { 'content-type': contentType } };
}

const fileHead = 'Content-Disposition: form-data; name="f"; filename="a"\r\n\r\n';

function rangeOf(from: number, to: number, total: number | '*' = size): string {
  return `bytes ${from}-${to - 1}/${total}`;
}

/** Opens a request with a form, whose body the test sends as it likes. */
function open(gateway: RestGateway, path: string, form: Form, headers: Record<string, string> = {}): Exchange {
  const length = { 'content-length': String(form.body.length) };
  return gateway.client.wire.open({ method: 'POST', path, headers: { ...length, ...form.headers, ...headers } });
}

describe.each(await availableStores())('forms on %s', (store) => {
  let gateway: RestGateway;

  beforeAll(async () => {
    gateway = await startRestGateway(store);
  });

  afterAll(() => gateway.stop());

  /** A chunk in a form, to a name or an upload. */
  const send = async (path: string, from: number, to: number, entries: FormEntries = {}): Promise<Answer> => {
    const { body, headers } = await formOf(file.subarray(from, to), entries);
    return rangeClient(gateway, path).send(rangeOf(from, Math.min(to, size)), body, headers);
  };

  test('with a chunk each make the object', async () => {
    const path = '/objects/in-order.bin';
    for (let from = 0; from + chunkBytes < size; from += chunkBytes) {
      const end = from + chunkBytes;
      const progress = progressOf(await send(path, from, end));
      expect(progress).toMatchObject({ state: 'open', offset: end, missing: [{ offset: end, size: size - end }] });
    }
    expect(progressOf(await send(path, 3 * chunkBytes, size))).toMatchObject({ state: 'completed', size });
    expect((await objectAt(gateway, 'in-order.bin'))?.equals(file)).toBe(true);
  });

  test('may come in any order, among plain chunks', async () => {
    const path = '/objects/any-order.bin';
    await send(path, 2 * chunkBytes, size);
    progressOf(await rangeClient(gateway, path).chunk(file, 0, chunkBytes));
    expect(progressOf(await send(path, chunkBytes, 2 * chunkBytes)).state).toBe('completed');
    expect((await objectAt(gateway, 'any-order.bin'))?.equals(file)).toBe(true);
  });

  test('may have fields before and after the file, whatever its own is called', async () => {
    const before = { authenticity_token: 'abc', description: 'several\nlines', filename: 'x' };
    const entries = { before, after: { last: 'x'.repeat(100_000) }, name: 'upload' };
    for (const [from, to] of [
      [0, 2 * chunkBytes],
      [2 * chunkBytes, size],
    ] as const) {
      progressOf(await send('/objects/fields.bin', from, to, entries));
    }
    expect((await objectAt(gateway, 'fields.bin'))?.equals(file)).toBe(true);
  });

  test('whose last range runs past the whole count by their file', async () => {
    const client = rangeClient(gateway, '/objects/clamped.bin');
    for (let from = 0; from < size; from += chunkBytes) {
      const { body, headers } = await formOf(file.subarray(from, from + chunkBytes));
      progressOf(await client.send(rangeOf(from, from + chunkBytes), body, headers));
    }
    expect((await objectAt(gateway, 'clamped.bin'))?.equals(file)).toBe(true);
  });

  test('with chunks of several parts are streamed, and compared when they come again', async () => {
    const large = bytesOf(40 * MiB + 1, 'large');
    const client = rangeClient(gateway, '/objects/large.bin');
    const half = await formOf(large.subarray(0, 20 * MiB));
    const stored = progressOf(await client.send(rangeOf(0, 20 * MiB, large.length), half.body, half.headers));
    gateway.probe.forget();
    expect(progressOf(await client.send(rangeOf(0, 20 * MiB, large.length), half.body, half.headers))).toEqual(stored);
    expect(gateway.probe.calls('putObject').concat(gateway.probe.calls('uploadPart'))).toEqual([]);
    const rest = await formOf(large.subarray(20 * MiB));
    progressOf(await client.send(rangeOf(20 * MiB, large.length, large.length), rest.body, rest.headers));
    expect((await objectAt(gateway, 'large.bin'))?.equals(large)).toBe(true);
  });

  test('continue an upload by its id', async () => {
    const { id } = await gateway.client.create({ key: 'by-id.bin', size });
    progressOf(await send(`/uploads/${id}`, chunkBytes, size));
    expect(progressOf(await send(`/uploads/${id}`, 0, chunkBytes))).toMatchObject({ id, state: 'completed' });
    expect((await objectAt(gateway, 'by-id.bin'))?.equals(file)).toBe(true);
  });

  test.each([
    ['several parts', bytesOf(20 * MiB + 7, 'whole')],
    ['one chunk', file],
    ['no byte', Buffer.alloc(0)],
  ])('without a range are the whole object, of %s', async (what, bytes) => {
    const { body, headers } = await formOf(bytes, { before: { a: 'b' }, after: { c: 'd' } });
    const answer = await rangeClient(gateway, `/objects/${encodeURIComponent(what)}`).send(undefined, body, headers);
    expect(progressOf(answer)).toMatchObject({ state: 'completed', size: bytes.length });
    expect((await objectAt(gateway, what))?.equals(bytes)).toBe(true);
  });

  test('give the object the content type of their file', async () => {
    const contentType = async (key: string) => (await gateway.client.read(key)).headers['content-type'];
    const { body, headers } = await formOf(ten, { type: 'image/png' });
    progressOf(await rangeClient(gateway, '/objects/whole.png').send(undefined, body, headers));
    expect(await contentType('whole.png')).toBe('image/png');
    progressOf(await rangeClient(gateway, '/objects/chunk.png').send(rangeOf(0, 10, 10), body, headers));
    expect(await contentType('chunk.png')).toBe('image/png');
    const nameless = await formOf(ten);
    progressOf(await rangeClient(gateway, '/objects/untyped').send(undefined, nameless.body, nameless.headers));
    expect(await contentType('untyped')).toMatch(/octet-stream$/);
  });

  test('are no matter for a client that was told to send the bytes themselves', async () => {
    const client = rangeClient(gateway, '/objects/no-form.bin');
    for (let from = 0; from < size; from += chunkBytes) {
      const bytes = file.subarray(from, from + chunkBytes);
      const headers = { 'content-type': 'video/mp4', 'content-disposition': 'attachment; filename="no%20form.mp4"' };
      progressOf(await client.send(rangeOf(from, from + bytes.length), bytes, headers));
    }
    const { bytes, headers } = await gateway.client.read('no-form.bin');
    expect(headers['content-type']).toBe('video/mp4');
    expect(bytes.equals(file)).toBe(true);
  });

  test.each([
    ['longer than its range, by a byte', 1],
    ['longer than its range, by a lot', MiB],
    ['shorter than its range, by a byte', -1],
    ['shorter than its range, by a lot', -MiB],
  ])('with a file that is %s are refused, and complete nothing', async (what, difference) => {
    for (const total of [2 * MiB, 9 * MiB]) {
      const key = `${total} ${what}`;
      const path = `/objects/${encodeURIComponent(key)}`;
      const { body, headers } = await formOf(bytesOf(total + difference, key));
      gateway.probe.forget();
      // Of unknown length: else some of these are refused by that.
      const range = { 'content-range': rangeOf(0, total, total), 'transfer-encoding': 'chunked' };
      const exchange = gateway.client.wire.open({ method: 'POST', path, headers: { ...headers, ...range } });
      exchange.request.end(body);
      await refused(exchange.answer, 400, 'invalid_request');
      const { state, receivedBytes } = progressOf(await rangeClient(gateway, path).ask(total));
      expect(state).toBe('open');
      expect(receivedBytes).toBeLessThan(total);
      for (const { ended } of gateway.probe.calls('uploadPart')) expect((await ended).status).toBe('rejected');
    }
  });

  test.each([1, -1, -MiB])(
    'whose file is %i bytes longer than its range leave nothing that could stand in the way',
    async (difference) => {
      const path = `/objects/in-the-way-${difference}`;
      const whole = bytesOf(20 * MiB, path);
      const { body, headers } = await formOf(bytesOf(2 * MiB + difference, 'other bytes'));
      const range = { 'content-range': rangeOf(0, 2 * MiB, whole.length), 'transfer-encoding': 'chunked' };
      const exchange = gateway.client.wire.open({ method: 'POST', path, headers: { ...headers, ...range } });
      exchange.request.end(body);
      await refused(exchange.answer, 400, 'invalid_request');
      const client = rangeClient(gateway, path);
      expect(progressOf(await client.ask(whole.length)).receivedBytes).toBe(0);
      expect(progressOf(await client.chunk(whole, 0, 2 * MiB)).receivedBytes).toBe(2 * MiB);
    },
  );

  test('that break off are no chunks, but what came of them is kept', async () => {
    const path = '/objects/broken.bin';
    const form = await formOf(file);
    const exchange = open(gateway, path, form, { 'content-range': rangeOf(0, size) });
    await exchange.write(form.body.subarray(0, 2 * MiB));
    exchange.request.destroy();
    await expect(exchange.answer).rejects.toThrow();
    const client = rangeClient(gateway, path);
    // Once the gateway has noticed it.
    await expect.poll(async () => progressOf(await client.ask()).offset, { timeout: 15_000 }).toBeGreaterThan(0);
    const { offset } = progressOf(await client.ask());
    expect(offset).toBeLessThanOrEqual(2 * MiB);
    expect(progressOf(await client.send(rangeOf(0, size), form.body, form.headers)).state).toBe('completed');
    expect((await objectAt(gateway, 'broken.bin'))?.equals(file)).toBe(true);
  });

  test('may come byte by byte', async () => {
    const form = await formOf(ten, { before: { a: 'b' }, after: { c: 'd' } });
    const exchange = open(gateway, '/objects/slow.bin', form, { 'content-range': rangeOf(0, 10, 10) });
    exchange.request.setNoDelay(true);
    for (const byte of form.body) {
      await exchange.write(Buffer.of(byte));
      await new Promise(setImmediate);
    }
    exchange.request.end();
    expect(progressOf(await exchange.answer).state).toBe('completed');
    expect((await objectAt(gateway, 'slow.bin'))?.equals(ten)).toBe(true);
  });

  test('are not read faster than the store takes them', async () => {
    const form = await formOf(bytesOf(64 * MiB, 'held'));
    const { reached, release } = gateway.probe.hold('uploadPart');
    const exchange = open(gateway, '/objects/held.bin', form, { 'content-range': rangeOf(0, 64 * MiB, 64 * MiB) });
    let sentBytes = 0;
    const sending = (async () => {
      for (let at = 0; at < form.body.length; at += MiB / 4) {
        await exchange.write(form.body.subarray(at, at + MiB / 4));
        sentBytes = at;
      }
      exchange.request.end();
    })();
    await reached;
    let before: number;
    do {
      before = sentBytes;
      await new Promise((resolve) => setTimeout(resolve, 500));
    } while (sentBytes > before);
    // What sockets hold, and no more.
    expect(sentBytes).toBeLessThan(32 * MiB);
    release();
    await sending;
    expect(progressOf(await exchange.answer).state).toBe('completed');
  });
});

describe('a form', () => {
  let gateway: RestGateway;

  beforeAll(async () => {
    gateway = await startRestGateway('disk', { env: { PARTWAY_BODY_IDLE_TIMEOUT: '1s' } });
  });

  afterAll(() => gateway.stop());

  const fileOfTen = `--x\r\n${fileHead}0123456789\r\n`;
  const fields = '--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n'.repeat(2000);

  test.each([
    ['has no file', formFrom(`${fields.slice(0, 1000)}--x--`), 400, 'invalid_request'],
    ['has no part', formFrom('--x--\r\n'), 400, 'invalid_request'],
    ['is empty', formFrom(''), 400, 'invalid_request'],
    ['is none', formFrom('0123456789'.repeat(1000)), 400, 'invalid_request'],
    [
      'has another boundary than its header says',
      formFrom(`${fileOfTen}--x--`, 'multipart/form-data; boundary=y'),
      400,
      'invalid_request',
    ],
    ['names no boundary', formFrom(`${fileOfTen}--x--`, 'multipart/form-data'), 400, 'invalid_request'],
    [
      'names a boundary that no form can have',
      formFrom(`${fileOfTen}--x--`, `multipart/form-data; boundary=${'x'.repeat(300)}`),
      400,
      'invalid_request',
    ],
    ['has a part without a header', formFrom('--x\r\n0123456789\r\n--x--'), 400, 'invalid_request'],
    ['ends in a header', formFrom(`--x\r\n${fileHead.slice(0, 40)}`), 400, 'invalid_request'],
    ['ends in its file', formFrom(fileOfTen.slice(0, -5)), 400, 'invalid_request'],
    ['ends behind its file', formFrom(fileOfTen), 400, 'invalid_request'],
    ['ends in its last boundary', formFrom(`${fileOfTen}--x-`), 400, 'invalid_request'],
    ['ends in a field behind its file', formFrom(`${fileOfTen}${fields.slice(0, 60)}`), 400, 'invalid_request'],
    ['has two files', formFrom(`${fileOfTen}${fileOfTen}--x--`), 400, 'invalid_request'],
    ['has more parts than anybody needs', formFrom(`${fields}${fileOfTen}--x--`), 413, 'limit_exceeded'],
    [
      'has more besides its file than anybody needs',
      formFrom(`${'p'.repeat(2 * MiB)}\r\n${fileOfTen}--x--`),
      413,
      'limit_exceeded',
    ],
    [
      'has an encoded file',
      formFrom(`--x\r\nContent-Transfer-Encoding: base64\r\n${fileOfTen.slice(5)}--x--`),
      415,
      'unsupported',
    ],
  ] as const)('that %s is refused, and completes nothing', async (what, { body, headers }, status, code) => {
    const path = `/objects/${encodeURIComponent(`refused ${what}`)}`;
    await refused(rangeClient(gateway, path).send(undefined, body, headers), status, code);
    await refused(rangeClient(gateway, path).send('bytes 0-9/10', body, headers), status, code);
    for (const { state } of (await gateway.client.list(`?prefix=${encodeURIComponent(`refused ${what}`)}`)).uploads) {
      expect(state).not.toBe('completed');
    }
  });

  test('that ended in its middle is sent again', async () => {
    const client = rangeClient(gateway, '/objects/again');
    const cutOff = formFrom(fileOfTen.slice(0, -5));
    await refused(client.send('bytes 0-9/10', cutOff.body, cutOff.headers), 400, 'invalid_request');
    const whole = formFrom(`${fileOfTen}--x--`);
    expect(progressOf(await client.send('bytes 0-9/10', whole.body, whole.headers)).state).toBe('completed');
    expect((await objectAt(gateway, 'again'))?.toString()).toBe('0123456789');
  });

  test('shorter than its range is refused before a byte of it is read', async () => {
    const form = await formOf(ten);
    const headers = { 'content-range': 'bytes 0-9999/10000', expect: '100-continue' };
    const exchange = open(gateway, '/objects/too-short', form, headers);
    await refused(exchange.answer, 400, 'invalid_request');
    await expect(exchange.continued).rejects.toThrow('without 100 Continue');
  });

  test.each([
    ['/objects/a/../b', 400, 'invalid_request'],
    ['/objects/x?bucket=elsewhere', 403, 'forbidden'],
    ['/uploads/nothing', 404, 'upload_not_found'],
  ] as const)('to %s is refused before a byte of it is read', async (path, status, code) => {
    const headers = { 'content-range': rangeOf(0, 10, 10), expect: '100-continue' };
    const exchange = open(gateway, path, await formOf(ten), headers);
    await refused(exchange.answer, status, code);
    await expect(exchange.continued).rejects.toThrow('without 100 Continue');
  });

  test.each([
    ['a chunk', { 'content-range': rangeOf(0, 10, 10) }],
    ['a whole object', {}],
  ])('with %s is told to come once it is wanted', async (what, headers) => {
    const form = await formOf(ten);
    const key = `continued ${what}`;
    const exchange = open(gateway, `/objects/${encodeURIComponent(key)}`, form, { ...headers, expect: '100-continue' });
    await exchange.continued;
    exchange.request.end(form.body);
    expect(progressOf(await exchange.answer).state).toBe('completed');
    expect((await objectAt(gateway, key))?.equals(ten)).toBe(true);
  });

  test.each([
    ['before its file', fields.slice(0, 1000), ''],
    ['in its file', fileOfTen.slice(0, -5), ''],
    ['behind its file', fileOfTen, ''],
    ['in a field behind its file', `${fileOfTen}${fields.slice(0, 60)}`, ''],
  ])('that stalls %s is given up, and may be sent again', async (where, sent) => {
    const path = `/objects/${encodeURIComponent(`stalled ${where}`)}`;
    const headers = { 'content-type': 'multipart/form-data; boundary=x', 'content-length': '10000' };
    for (const range of [{}, { 'content-range': rangeOf(0, 10, 10) }]) {
      const exchange = gateway.client.wire.open({ method: 'POST', path, headers: { ...headers, ...range } });
      await exchange.write(Buffer.from(sent));
      await refused(exchange.answer, 408, 'body_timeout');
      expect((await exchange.answer).headers.connection).toBe('close');
    }
    const whole = formFrom(`${fileOfTen}--x--`);
    expect(progressOf(await rangeClient(gateway, path).send('bytes 0-9/10', whole.body, whole.headers)).state).toBe(
      'completed',
    );
  });

  test('gets no answer where its client says that it ends early', async () => {
    const { socket, said } = await openRaw(gateway.url);
    const head = `POST /objects/early HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Range: bytes 0-9/10\r\nContent-Length: 10000\r\n\r\n`;
    socket.end(`${head}${fileOfTen}`);
    expect(await said).toBe('');
  });

  test.each([
    ['stored', `${fileOfTen}--x--\r\n`, 200],
    ['stored, with more behind its end', `${fileOfTen}--x--\r\n${'e'.repeat(100_000)}`, 200],
    ['refused at its end', `${fields.slice(0, 1000)}--x--\r\n`, 400],
  ])('that is %s leaves its connection to the next request', async (what, text, status) => {
    const request = (path: string, body: string, more: string) =>
      `POST ${path} HTTP/1.1\r\nHost: a\r\n${more}Content-Length: ${body.length}\r\n\r\n${body}`;
    const form = 'Content-Type: multipart/form-data; boundary=x\r\nContent-Range: bytes 0-9/10\r\n';
    const path = `/objects/${encodeURIComponent(`kept ${what}`)}`;
    const next = request('/objects/next', 'abc', 'Connection: close\r\n');
    const said = await sayRaw(gateway.url, request(path, text, form) + next);
    expect([...said.matchAll(/^HTTP\/1\.1 (\d+)/gm)].map(([, code]) => Number(code))).toEqual([status, 200]);
  });

  test.each(['multipart/form-data; boundary="a b:c=d"', 'Multipart/Form-Data; charset=utf-8; Boundary="a b:c=d"'])(
    'may come as %s',
    async (contentType) => {
      const text = `--a b:c=d\r\n${fileHead}0123456789\r\n--a b:c=d--\r\n`;
      const { body, headers } = formFrom(text, contentType);
      const client = rangeClient(gateway, '/objects/quoted');
      expect(progressOf(await client.send('bytes 0-9/10', body, headers)).state).toBe('completed');
      expect((await objectAt(gateway, 'quoted'))?.toString()).toBe('0123456789');
    },
  );

  test('is answered as a plain chunk is to those who name a session', async () => {
    const { body, headers } = await formOf(ten);
    const session = { ...headers, 'x-session-id': '1', 'x-content-range': 'bytes 0-9/100' };
    const answer = await rangeClient(gateway, '/objects/session').send(undefined, body, session);
    expect(answer).toMatchObject({ status: 201, text: '0-9/100', headers: { range: '0-9/100' } });
  });
});
