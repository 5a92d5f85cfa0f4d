import type { DigestAlgorithm } from '../core/digest.ts';
import type { Layout } from '../core/layout.ts';
import type { Part, Upload } from '../core/upload.ts';
import type { parts, uploads } from './schema.ts';

type UploadRow = typeof uploads.$inferSelect;
type PartRow = Pick<typeof parts.$inferSelect, 'partNumber' | 'offset' | 'size' | 'etag' | 'digests' | 'doubtful'>;

export function toUpload(row: UploadRow): Upload {
  return {
    id: row.id,
    tenant: row.tenant,
    protocol: row.protocol,
    state: row.state,
    reason: row.reason ?? undefined,
    bucket: row.bucket,
    key: row.key,
    storeKey: row.storeKey,
    storeUploadId: row.storeUploadId ?? undefined,
    token: row.token,
    sizeBytes: row.size ?? row.claimedSize ?? undefined,
    layout: toLayout(row),
    offset: row.offset,
    contiguousParts: row.contiguousParts,
    receivedBytes: row.receivedBytes,
    contentType: row.contentType ?? undefined,
    metadata: row.metadata,
    digest:
      digestOf(row.digestAlgorithm, row.digestValue) ?? digestOf(row.claimedDigestAlgorithm, row.claimedDigestValue),
    ifNoneMatch: row.ifNoneMatch,
    signed: row.signed,
    isSelfCompleting: row.selfCompleting,
    isConflicted: row.conflicted,
    carefulFragmentBytes: isCareful(row) ? (row.carefulFragmentSize ?? undefined) : undefined,
    sources: row.sources ?? undefined,
    front: row.front,
    digestChain: row.digestState === null ? undefined : { endsAt: row.digestOffset, state: row.digestState },
    writerId: row.writerId ?? undefined,
    lastWriteAt: row.lastWriteAt ?? undefined,
    etag: row.etag ?? undefined,
    createdAt: row.createdAt,
    updatedAt: row.updatedAt,
    expiresAt: row.expiresAt,
    completedAt: row.completedAt ?? undefined,
  };
}

/** By this process's clock: a hint is at stake, not a lease. */
function isCareful({ carefulUntil }: UploadRow): boolean {
  return carefulUntil !== null && carefulUntil.getTime() > Date.now();
}

function digestOf(algorithm: DigestAlgorithm | null, value: string | null): Upload['digest'] {
  return algorithm === null || value === null ? undefined : { algorithm, value };
}

function toLayout(row: UploadRow): Layout {
  if (row.layout === null) return { kind: 'undecided' };
  if (row.layout !== 'planned' || row.partSize === null) return { kind: 'free' };
  return {
    kind: 'planned',
    partSizeBytes: row.partSize,
    ...(row.growEvery === null ? {} : { growEvery: row.growEvery }),
    ...(row.maxPartSize === null ? {} : { maxPartSizeBytes: row.maxPartSize }),
  };
}

export function layoutColumns(
  layout: Layout,
): Pick<typeof uploads.$inferInsert, 'layout' | 'partSize' | 'growEvery' | 'maxPartSize'> {
  if (layout.kind === 'undecided') return {};
  if (layout.kind === 'free') return { layout: 'free' };
  return {
    layout: 'planned',
    partSize: layout.partSizeBytes,
    growEvery: layout.growEvery,
    maxPartSize: layout.maxPartSizeBytes,
  };
}

/** `undefined` where the slot has no durable part. */
export function toPart(row: PartRow): Part | undefined {
  if (row.etag === null || row.size === null) return undefined;
  return {
    partNumber: row.partNumber,
    offset: row.offset ?? undefined,
    sizeBytes: row.size,
    etag: row.etag,
    digests: row.digests,
    ...(row.doubtful ? { isDoubtful: true as const } : {}),
  };
}
