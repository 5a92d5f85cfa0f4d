import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bytesOf, refused } from '../rest/rest-client.ts';
import { type RestGateway, startRestGateway } from '../rest/rest-gateway.ts';
import { progressOf, rangeClient } from './range-client.ts';

const ten = bytesOf(10);

const MiB = 1024 ** 2;

describe('a request with a range', () => {
  let gateway: RestGateway;

  beforeAll(async () => {
    gateway = await startRestGateway('disk');
  });

  afterAll(() => gateway.stop());

  test.each([
    ['begins after it ends', 'bytes 9-0/10', ten, 400, 'invalid_request'],
    ['has no unit', '0-9/10', ten, 400, 'invalid_request'],
    ['names its range as a Range header does', 'bytes=0-9/10', ten, 400, 'invalid_request'],
    ['has no total', 'bytes 0-9', ten, 400, 'invalid_request'],
    ['names several ranges', 'bytes 0-4,5-9/10', ten, 400, 'invalid_request'],
    ['is out of what numbers can hold', 'bytes 0-99999999999999999999/*', ten, 400, 'invalid_request'],
    ['begins at the end of the whole', 'bytes 10-19/10', ten, 416, 'range_not_satisfiable'],
    ['begins behind the whole', 'bytes 20-29/10', ten, 416, 'range_not_satisfiable'],
    ['is of an empty whole', 'bytes 0-9/0', ten, 416, 'range_not_satisfiable'],
    ['has fewer bytes than its range', 'bytes 0-19/100', ten, 400, 'invalid_request'],
    ['has fewer bytes than its range, of unknown total', 'bytes 0-19/*', ten, 400, 'invalid_request'],
    ['has more bytes than its range', 'bytes 0-4/100', ten, 400, 'invalid_request'],
    ['has more bytes than the whole', 'bytes 0-99/9', ten, 400, 'invalid_request'],
    ['has no bytes', 'bytes 0-9/10', Buffer.alloc(0), 400, 'invalid_request'],
    ['asks where to go on, with a body', 'bytes */10', ten, 400, 'invalid_request'],
  ] as const)('that %s is refused, and nothing is stored', async (_what, range, body, status, code) => {
    const answer = rangeClient(gateway, '/objects/refused').send(range, body);
    await refused(answer, status, code);
    expect((await gateway.client.list('?prefix=refused')).uploads).toEqual([]);
  });

  test('outside of the whole names the size as RFC 9110 does', async () => {
    const answer = await rangeClient(gateway, '/objects/refused').send('bytes 10-19/10', ten);
    expect(answer.headers['content-range']).toBe('bytes */10');
  });

  test.each([
    ['a multipart message', { 'content-type': 'multipart/mixed; boundary=x' }],
    ['the form of an answer with ranges', { 'content-type': 'multipart/byteranges; boundary=x' }],
    ['what only begins like a form', { 'content-type': 'multipart/form-data-x; boundary=x' }],
    ["S3's own framing", { 'content-encoding': 'aws-chunked' }],
    ["S3's own framing, signed", { 'x-amz-content-sha256': 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD' }],
  ])('in %s is refused: its envelope would become part of the object', async (_what, headers) => {
    await refused(rangeClient(gateway, '/objects/refused').send('bytes 0-9/10', ten, headers), 415, 'unsupported');
    await refused(rangeClient(gateway, '/objects/refused').send(undefined, ten, headers), 415, 'unsupported');
  });

  test.each([
    ['/objects/a/../b', 400, 'invalid_request'],
    ['/objects/.partway/x', 400, 'invalid_request'],
    ['/objects/%ff', 400, 'invalid_request'],
    ['/objects/x?bucket=elsewhere', 403, 'forbidden'],
  ] as const)('to %s is refused before a byte of it is read', async (path, status, code) => {
    const exchange = gateway.client.wire.open({
      method: 'PUT',
      path,
      headers: { 'content-range': 'bytes 0-9/10', 'content-length': '10', expect: '100-continue' },
    });
    await refused(exchange.answer, status, code);
    await expect(exchange.continued).rejects.toThrow('without 100 Continue');
  });

  test('whose two headers say different things is refused', async () => {
    const headers = { 'x-content-range': 'bytes 10-19/20' };
    await refused(rangeClient(gateway, '/objects/refused').send('bytes 0-9/20', ten, headers), 400, 'invalid_request');
  });

  test('is told to send its body once it is wanted', async () => {
    const exchange = gateway.client.wire.open({
      method: 'PUT',
      path: '/objects/announced',
      headers: { 'content-range': 'bytes 0-9/10', 'content-length': '10', expect: '100-continue' },
    });
    await exchange.continued;
    exchange.request.end(ten);
    expect((await exchange.answer).status).toBe(200);
  });

  test.each([
    ['fewer', 5],
    ['more', 15],
  ])('whose body, of a length that was not told, has %s bytes than its range is refused', async (which, sentBytes) => {
    const key = `chunked-${which}`;
    const client = rangeClient(gateway, `/objects/${key}`);
    const file = bytesOf(20, key);
    const sent = bytesOf(sentBytes, key);
    await client.chunk(file, 0, 5);
    const exchange = gateway.client.wire.open({
      method: 'PUT',
      path: client.path,
      headers: { 'content-range': 'bytes 5-14/20', 'transfer-encoding': 'chunked' },
    });
    exchange.request.end(sent);
    await refused(exchange.answer, 400, 'invalid_request');
    const { state } = progressOf(await client.ask(20));
    expect(state).toBe('open');
  });

  test.each([10, 9 * MiB])(
    'whose body, of a length that was not told, is longer than the whole (%d) completes nothing',
    async (size) => {
      const client = rangeClient(gateway, `/objects/longer-${size}`);
      const exchange = gateway.client.wire.open({
        method: 'PUT',
        path: client.path,
        headers: { 'content-range': `bytes 0-${size - 1}/${size}`, 'transfer-encoding': 'chunked' },
      });
      exchange.request.end(bytesOf(size + 6, 'longer'));
      await refused(exchange.answer, 400, 'invalid_request');
      const { state, offset } = progressOf(await client.ask(size));
      expect(state).toBe('open');
      expect(offset).toBeLessThan(size);
    },
  );

  test('of the draft before Upload-Complete, that is only a part, is not taken for the whole', async () => {
    const part = { 'upload-incomplete': '?1', 'upload-draft-interop-version': '3' };
    const { wire } = gateway.client;
    const put = (headers: Record<string, string>) =>
      wire.send({ method: 'PUT', path: '/objects/older-draft', headers }, ten);
    await refused(put(part), 400, 'invalid_request');
    expect((await put({ ...part, 'upload-incomplete': '?0' })).status).toBeLessThan(300);
  });
});
