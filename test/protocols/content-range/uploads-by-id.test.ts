import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bytesOf, refused } from '../rest/rest-client.ts';
import { availableStores, type RestGateway, startRestGateway } from '../rest/rest-gateway.ts';
import { locationOf, TusClient } from '../tus/tus-client.ts';
import { objectAt, progressOf, rangeClient } from './range-client.ts';

const chunkBytes = 100_000;
const file = bytesOf(3 * chunkBytes + 11, 'file');
const size = file.length;

describe.each(await availableStores())('chunks of an upload on %s', (store) => {
  let gateway: RestGateway;
  let other: RestGateway;

  beforeAll(async () => {
    gateway = await startRestGateway(store);
    other = await startRestGateway(store, { beside: gateway });
  });

  afterAll(async () => {
    await other?.stop();
    await gateway.stop();
  });

  test('continue what REST began, and complete it', async () => {
    const { id } = await gateway.client.create({ key: 'begun', size });
    const client = rangeClient(gateway, `/uploads/${id}`);
    expect(progressOf(await client.sendAll(file, chunkBytes))).toMatchObject({ id, state: 'completed' });
    expect((await objectAt(gateway, 'begun'))?.equals(file)).toBe(true);
  });

  test('continue what was begun by name', async () => {
    const { id } = progressOf(await rangeClient(gateway, '/objects/named').chunk(file, 0, chunkBytes));
    const client = rangeClient(other, `/uploads/${id}`);
    expect(progressOf(await client.ask())).toMatchObject({ id, offset: chunkBytes });
    progressOf(await client.chunk(file, chunkBytes, size));
    expect((await objectAt(gateway, 'named'))?.equals(file)).toBe(true);
  });

  test('of another total are refused, and both are named', async () => {
    const { id } = await gateway.client.create({ key: 'total', size });
    const client = rangeClient(gateway, `/uploads/${id}`);
    const both = { conflict: 'size', expectedSize: size, statedSize: size + 1 };
    expect(await refused(client.chunk(file, 0, chunkBytes, size + 1), 409, 'state_conflict')).toMatchObject(both);
    expect(await refused(client.ask(size + 1), 409, 'state_conflict')).toMatchObject(both);
    expect(progressOf(await client.ask(size)).receivedBytes).toBe(0);
  });

  test('may tell the total late, and it completes', async () => {
    const { id } = await gateway.client.create({ key: 'late' });
    const client = rangeClient(gateway, `/uploads/${id}`);
    progressOf(await client.chunk(file, 0, chunkBytes, '*'));
    expect(progressOf(await client.ask(chunkBytes))).toMatchObject({ state: 'completed', size: chunkBytes });
  });

  test('sent again after it completed elsewhere get the same answer', async () => {
    const { id } = await gateway.client.create({ key: 'elsewhere', size });
    const client = rangeClient(gateway, `/uploads/${id}`);
    progressOf(await client.chunk(file, 0, chunkBytes));
    const completed = progressOf(await rangeClient(other, `/uploads/${id}`).chunk(file, chunkBytes, size));
    // This gateway may still take it for open: it then asks for the chunk once more.
    const again = await client.chunk(file, 0, chunkBytes);
    expect(progressOf(again.status === 503 ? await client.chunk(file, 0, chunkBytes) : again)).toEqual(completed);
  });

  test('of one that was completed, and deleted since, are refused', async () => {
    const tus = new TusClient(gateway.url);
    const path = locationOf(await tus.create({ 'upload-length': String(size) }, file));
    expect((await tus.send('DELETE', path)).status).toBe(204);
    const client = rangeClient(gateway, path.replace('/files/', '/uploads/'));
    await refused(client.chunk(file, 0, chunkBytes), 410, 'upload_gone');
    for (const total of [size, size + 1, '*'] as const) await refused(client.ask(total), 410, 'upload_gone');
    tus.close();
  });

  test('of one that was aborted are refused', async () => {
    const { id } = await gateway.client.create({ key: 'aborted', size });
    const client = rangeClient(gateway, `/uploads/${id}`);
    progressOf(await client.chunk(file, 0, chunkBytes));
    await gateway.client.request('DELETE', `/uploads/${id}`);
    await refused(client.chunk(file, chunkBytes, size), 410, 'upload_gone');
    await refused(client.ask(size), 410, 'upload_gone');
  });

  test('need a range, an upload, and bytes that have a place', async () => {
    const { id } = await gateway.client.create({ key: 'free', layout: 'free' });
    await refused(rangeClient(gateway, `/uploads/${id}`).send(undefined, file), 400, 'invalid_request');
    await refused(rangeClient(gateway, `/uploads/${id}`).chunk(file, 0, chunkBytes), 409, 'state_conflict');
    await refused(rangeClient(gateway, '/uploads/nothing').chunk(file, 0, chunkBytes), 404, 'upload_not_found');
  });
});
