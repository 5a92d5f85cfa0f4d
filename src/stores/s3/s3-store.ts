import type { ObjectStore, StoreLimits } from '../../core/object-store.ts';
import { createClients, type S3Connection } from './clients.ts';
import { listMultipartUploads, listObjects, listParts } from './listing.ts';
import { multipartCalls } from './multipart.ts';
import { objectCalls } from './objects.ts';
import { presignUploadPart } from './presign.ts';

export type S3StoreOptions = S3Connection & { readonly limits: StoreLimits };

/** MinIO deletes an unfinished upload so long after its creation: MINIO_API_STALE_UPLOADS_EXPIRY's default. */
const minioKeepsMs = 24 * 60 * 60 * 1000;

/** What other servers make of a checksum that Create did not name differs: MinIO verifies it. */
const isMinio = (server: string | undefined) => server?.startsWith('MinIO') ?? false;

/** Any server that speaks S3. */
export function createS3Store(options: S3StoreOptions): ObjectStore {
  const clients = createClients(options);
  return {
    limits: options.limits,
    capabilities: { verifies: new Set(['md5']), presigns: true, etagIsMd5: true },
    description: describe(options),
    keepsUnfinishedMs: () => (isMinio(clients.server()) ? minioKeepsMs : undefined),
    ...multipartCalls(clients),
    ...objectCalls(clients),
    listParts: (input, callOptions) => listParts(clients.control, input, callOptions),
    listMultipartUploads: (input, callOptions) => listMultipartUploads(clients.control, input, callOptions),
    listObjects: (input, callOptions) => listObjects(clients.control, input, callOptions),
    pinsBy: () => (isMinio(clients.server()) ? 'crc32' : 'md5'),
    presignUploadPart: (input) => presignUploadPart(clients.places, input),
    close: async () => clients.close(),
  };
}

function describe({ endpoint, region }: S3StoreOptions): string {
  // The endpoint may carry a user and password.
  const place = endpoint === undefined ? 'AWS' : new URL(endpoint).origin;
  return `S3 at ${place}, region ${region}`;
}
