import { GetObjectCommand } from '@aws-sdk/client-s3';
import { Upload } from '@aws-sdk/lib-storage';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { UploadJson } from '../../src/protocols/rest/contract.ts';
import { bytesOf, RestClient } from '../protocols/rest/rest-client.ts';
import { type FaultProxy, type ProxiedRequest, startFaultProxy } from '../support/fault-proxy.ts';
import { startTestGateway, storeSettings, type TestGateway } from '../support/gateway.ts';
import { createTestDatabase, type TestDatabase } from '../support/postgres.ts';
import { clientOf, createBucket, type TestStore, useMinio, useRgw } from '../support/stores.ts';

const MiB = 1024 ** 2;
const partSize = 5 * MiB;
const content = bytesOf(2 * partSize + 3);
const parts = [0, 1, 2].map((index) => content.subarray(index * partSize, (index + 1) * partSize));

for (const [name, store] of [['MinIO', await useMinio()] as const, ['Ceph RGW', await useRgw()] as const]) {
  describe.skipIf(store === undefined)(`an object that came through the gateway, on ${name}`, () =>
    describeObject(store!),
  );
}

function describeObject(store: TestStore): void {
  const s3 = clientOf(store);
  let bucket: string;
  let database: TestDatabase;
  let proxy: FaultProxy;
  let gateway: TestGateway;
  let client: RestClient;

  beforeAll(async () => {
    bucket = await createBucket(store);
    database = await createTestDatabase();
    proxy = await startFaultProxy({ target: store.endpoint });
    const settings = storeSettings(store, bucket, proxy.url);
    gateway = await startTestGateway({ env: { DATABASE_URL: database.url, ...settings } });
    client = new RestClient(gateway.url);
  });

  beforeEach(() => proxy.clear());

  afterAll(async () => {
    client?.close();
    await gateway?.stop();
    await proxy?.stop();
    await database?.drop();
    s3.destroy();
  });

  async function uploadThroughGateway(key: string): Promise<UploadJson> {
    const { id } = await client.create({ key, size: content.length, partSize, contentType: 'application/zstd' });
    await Promise.all(parts.map((part, index) => client.putPart(id, index + 1, part)));
    return client.complete(id);
  }

  async function uploadWithoutGateway(key: string): Promise<void> {
    const params = { Bucket: bucket, Key: key, Body: content, ContentType: 'application/zstd' };
    await new Upload({ client: s3, params, partSize }).done();
  }

  async function read(key: string) {
    const { Body, ETag, ContentType } = await s3.send(new GetObjectCommand({ Bucket: bucket, Key: key }));
    return { bytes: Buffer.from((await Body?.transformToByteArray()) ?? []), etag: ETag, contentType: ContentType };
  }

  test('has the bytes, the type and the very ETag that lib-storage gives it', async () => {
    const { etag } = await uploadThroughGateway('through-gateway');
    await uploadWithoutGateway('without-gateway');
    const [ours, reference] = [await read('through-gateway'), await read('without-gateway')];
    expect(reference.etag).toMatch(/^"[0-9a-f]{32}-3"$/);
    expect({ etag: ours.etag, contentType: ours.contentType }).toEqual({
      etag: reference.etag,
      contentType: reference.contentType,
    });
    expect(etag).toBe(reference.etag);
    expect(ours.bytes.equals(content)).toBe(true);
    expect(reference.bytes.equals(content)).toBe(true);
  });

  test('has cost the store one call for each part and two more', async () => {
    const { id } = await uploadThroughGateway('counted');
    await client.look(id);
    await client.list();
    await client.listParts(id);
    expect(proxy.requests.map(operationOf).toSorted()).toEqual([
      'CompleteMultipartUpload',
      'CreateMultipartUpload',
      'UploadPart 1',
      'UploadPart 2',
      'UploadPart 3',
    ]);
  });
}

/** As Amazon S3's API Reference tells them apart; anything else by its method. */
function operationOf({ method, query }: ProxiedRequest): string {
  if (method === 'POST' && query.has('uploads')) return 'CreateMultipartUpload';
  if (method === 'POST' && query.has('uploadId')) return 'CompleteMultipartUpload';
  if (method === 'PUT' && query.has('partNumber')) return `UploadPart ${query.get('partNumber')}`;
  return `${method} ${query}`;
}
