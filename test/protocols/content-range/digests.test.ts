import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bytesOf, refused } from '../rest/rest-client.ts';
import { availableStores, type RestGateway, startRestGateway } from '../rest/rest-gateway.ts';
import { objectAt, progressOf, rangeClient } from './range-client.ts';

const MiB = 1024 ** 2;
const file = bytesOf(9 * MiB, 'file');
const md5Of = (bytes: Buffer) => createHash('md5').update(bytes).digest('base64');

describe.each(await availableStores())('what a client states of a chunk on %s', (store) => {
  let gateway: RestGateway;

  beforeAll(async () => {
    gateway = await startRestGateway(store);
  });

  afterAll(() => gateway.stop());

  test.each([
    ['Content-MD5', (digest: string) => ({ 'content-md5': digest })],
    ['Content-Digest', (digest: string) => ({ 'content-digest': `md5=:${digest}:` })],
    ['x-amz-checksum-md5', (digest: string) => ({ 'x-amz-checksum-md5': digest })],
  ])('by %s is held against it, and a chunk that differs leaves nothing', async (name, headers) => {
    const client = rangeClient(gateway, `/objects/by-${name}`);
    for (const [from, to] of [
      [0, 1 * MiB],
      [1 * MiB, file.length],
    ] as const) {
      const chunk = file.subarray(from, to);
      const range = `bytes ${from}-${to - 1}/${file.length}`;
      await refused(client.send(range, chunk, headers(md5Of(Buffer.from('other')))), 422, 'digest_mismatch');
      expect(progressOf(await client.ask(file.length)).receivedBytes).toBe(from);
      expect(progressOf(await client.send(range, chunk, headers(md5Of(chunk)))).receivedBytes).toBe(to);
    }
    expect((await objectAt(gateway, `by-${name}`))?.equals(file)).toBe(true);
  });

  test('of a whole object makes none that differs', async () => {
    const client = rangeClient(gateway, '/objects/whole');
    const wrong = { 'content-md5': md5Of(Buffer.from('other')) };
    await refused(client.send(undefined, file, wrong), 422, 'digest_mismatch');
    expect(await objectAt(gateway, 'whole')).toBeUndefined();
    progressOf(await client.send(undefined, file, { 'content-md5': md5Of(file) }));
    expect((await objectAt(gateway, 'whole'))?.equals(file)).toBe(true);
  });

  test('that can be no digest is refused before anything is stored', async () => {
    const client = rangeClient(gateway, '/objects/malformed');
    await refused(client.send('bytes 0-3/4', Buffer.from('four'), { 'content-md5': 'no' }), 400, 'invalid_request');
    await refused(client.ask(4), 404, 'upload_not_found');
  });
});
