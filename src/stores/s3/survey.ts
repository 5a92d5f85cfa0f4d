import { HeadBucketCommand } from '@aws-sdk/client-s3';
import { callStore } from './call.ts';
import { createClients, type S3Connection } from './clients.ts';
import { type LifecycleRule, readLifecycle } from './lifecycle.ts';
import { watchDateHeader } from './middleware.ts';

export interface S3Survey {
  /** The `Server` header, where the store sends one. */
  readonly server: string | undefined;
  readonly date: { readonly text: string; readonly askedAt: number; readonly answeredAt: number } | undefined;
  /** `undefined`: the store does not tell them, or not to us. */
  readonly lifecycle: readonly LifecycleRule[] | undefined;
}

/** Asks for what the gateway itself has no use for. @throws StoreError */
export async function surveyS3(connection: S3Connection, bucket: string, signal: AbortSignal): Promise<S3Survey> {
  const clients = createClients(connection);
  let date: S3Survey['date'];
  watchDateHeader(clients.control, (seen) => {
    date = seen;
  });
  try {
    await callStore('HeadBucket', signal, (options) =>
      clients.control.send(new HeadBucketCommand({ Bucket: bucket }), options),
    );
    return { server: clients.server(), date, lifecycle: await readLifecycle(clients.control, bucket, signal) };
  } finally {
    clients.close();
  }
}
