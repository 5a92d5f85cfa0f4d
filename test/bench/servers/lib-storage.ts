/**
 * The peer without a gateway: AWS's own multipart uploader, in the client's process. PUT /KEY uploads a body of
 * `size` bytes, made here, in parts of `part` bytes, four at a time.
 */
import { randomBytes } from 'node:crypto';
import { createServer } from 'node:http';
import { Readable } from 'node:stream';
import { S3Client } from '@aws-sdk/client-s3';
import { Upload } from '@aws-sdk/lib-storage';
import { listen } from './say-ready.ts';

const { S3_ENDPOINT = '', S3_BUCKET = '', S3_ACCESS_KEY_ID = '', S3_SECRET_ACCESS_KEY = '' } = process.env;

const client = new S3Client({
  endpoint: S3_ENDPOINT,
  region: 'us-east-1',
  forcePathStyle: true,
  credentials: { accessKeyId: S3_ACCESS_KEY_ID, secretAccessKey: S3_SECRET_ACCESS_KEY },
});
const piece = randomBytes(1024 * 1024);

function* pieces(sizeBytes: number): Generator<Buffer> {
  for (let leftBytes = sizeBytes; leftBytes > 0; leftBytes -= piece.length) yield piece.subarray(0, leftBytes);
}

async function upload(key: string, sizeBytes: number, partSize: number): Promise<void> {
  const params = { Bucket: S3_BUCKET, Key: key, Body: Readable.from(pieces(sizeBytes), { objectMode: false }) };
  await new Upload({ client, params, partSize, queueSize: 4 }).done();
}

listen(
  createServer((incoming, outgoing) => {
    const { pathname, searchParams } = new URL(incoming.url ?? '', 'http://bench');
    upload(pathname.slice(1), Number(searchParams.get('size')), Number(searchParams.get('part'))).then(
      () => outgoing.end(),
      (error: unknown) => outgoing.writeHead(502).end(String(error)),
    );
  }),
);
