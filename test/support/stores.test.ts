import { randomBytes } from 'node:crypto';
import {
  CreateMultipartUploadCommand,
  GetObjectCommand,
  HeadBucketCommand,
  ListBucketsCommand,
  PutObjectCommand,
} from '@aws-sdk/client-s3';
import { describe, expect, test } from 'vitest';
import { startFaultProxy } from './fault-proxy.ts';
import { removeBuckets } from './remove-buckets.ts';
import { clientOf, createBucket, useMinio, useRgw } from './stores.ts';

describe.each([
  ['minio', await useMinio()],
  ['rgw', await useRgw()],
] as const)('the %s of the run', (_name, store) => {
  test.skipIf(store === undefined)('makes a bucket of its own for each who asks', async () => {
    const buckets = await Promise.all([createBucket(store!), createBucket(store!)]);
    expect(buckets[0]).not.toBe(buckets[1]);
    for (const bucket of buckets) await clientOf(store!).send(new HeadBucketCommand({ Bucket: bucket }));
  });

  test.skipIf(store === undefined)('gives up the buckets of one run and no others', async () => {
    const mine = { ...store!, bucketPrefix: 'partway-mine-' };
    const other = { ...store!, bucketPrefix: 'partway-other-' };
    const buckets = [await createBucket(mine), await createBucket(mine), await createBucket(other)];
    const client = clientOf(mine);
    await client.send(new PutObjectCommand({ Bucket: buckets[0], Key: 'a/b', Body: 'x' }));
    await client.send(new CreateMultipartUploadCommand({ Bucket: buckets[1], Key: 'c' }));
    await removeBuckets(mine, mine.bucketPrefix);
    const left = (await client.send(new ListBucketsCommand({}))).Buckets?.map(({ Name }) => Name);
    expect(buckets.map((bucket) => left?.includes(bucket))).toEqual([false, false, true]);
    await removeBuckets(other, other.bucketPrefix);
  });

  test.skipIf(store === undefined)('takes signed requests by way of a proxy', async () => {
    const proxy = await startFaultProxy({ target: store!.endpoint });
    const bucket = await createBucket(store!);
    const client = clientOf({ ...store!, endpoint: proxy.url });
    const body = randomBytes(3_000_000);
    await client.send(new PutObjectCommand({ Bucket: bucket, Key: 'a b', Body: body }));
    const { Body } = await client.send(new GetObjectCommand({ Bucket: bucket, Key: 'a b' }));
    expect(body.equals((await Body?.transformToByteArray()) ?? new Uint8Array())).toBe(true);
    expect(proxy.requests).toMatchObject([
      { method: 'PUT', path: `/${bucket}/a%20b`, status: 200 },
      { method: 'GET', status: 200, answerBytes: body.length },
    ]);
    client.destroy();
    await proxy.stop();
  });
});
