import { once } from 'node:events';
import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type RestGateway, startRestGateway } from '../rest/rest-gateway.ts';

const bodyBytes = 24 * 1024 ** 2;

describe('a client that reads nothing before it has sent all of its body', () => {
  let gateway: RestGateway;

  beforeAll(async () => {
    gateway = await startRestGateway('disk');
  });

  afterAll(() => gateway?.stop());

  async function firstLineFor(target: string, headers: readonly string[]): Promise<string> {
    const { hostname, port } = new URL(gateway.url);
    const socket = connect({ host: hostname, port: Number(port) }).pause();
    await once(socket, 'connect');
    socket.write([target, 'Host: a', `Content-Length: ${bodyBytes}`, ...headers, '', ''].join('\r\n'));
    socket.write(Buffer.alloc(bodyBytes));
    await once(socket, 'drain');
    const said = (await Array.fromAsync(socket)).toString();
    return said.slice(0, said.indexOf('\r\n'));
  }

  test.each([
    ['PATCH /files/0123 HTTP/1.1', ['Tus-Resumable: 0.2.2'], 412],
    ['PUT /objects/a HTTP/1.1', ['Content-Range: bytes 5-1/2'], 400],
    ['PATCH /resumable/0123 HTTP/1.1', ['Upload-Offset: 0', 'Upload-Complete: ?0'], 404],
    ['PUT /uploads/0123/parts/1 HTTP/1.1', [], 404],
    ['PUT /upload/storage/v1/b/default/o?upload_id=0123 HTTP/1.1', [], 404],
  ])('is refused where it can see it: %s', async (target, headers, status) => {
    expect(await firstLineFor(target, headers)).toContain(`HTTP/1.1 ${status} `);
  });
});
