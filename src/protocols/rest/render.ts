import { type PlannedLayout, partCountOf } from '../../core/layout.ts';
import type { MissingPart } from '../../core/list-parts.ts';
import type { Part, Upload } from '../../core/upload.ts';
import { publicUrlOf } from '../http/base-url.ts';
import { formatDigest } from '../http/digest-fields.ts';
import type { MissingPartJson, PartJson, UploadJson } from './contract.ts';
import type { RestDeps } from './front.ts';

/** An upload as JSON. Its token and a front's secrets are never part of it. */
export function renderUpload(upload: Upload, deps: Omit<RestDeps, 'admission'>): UploadJson {
  const { layout, sizeBytes } = upload;
  const { store } = deps.core;
  return {
    id: upload.id,
    state: upload.state,
    ...present('reason', upload.reason),
    bucket: upload.bucket,
    key: upload.key,
    ...present('size', sizeBytes),
    offset: upload.offset,
    receivedBytes: upload.receivedBytes,
    ...(upload.isConflicted && upload.state === 'open' ? { conflicted: true } : {}),
    layout: layout.kind === 'undecided' ? 'planned' : layout.kind,
    ...(layout.kind === 'planned' ? renderParts(layout, sizeBytes) : {}),
    ...(layout.kind === 'planned' && sizeBytes !== undefined ? { partCount: partCountOf(layout, sizeBytes) } : {}),
    ...present('contentType', upload.contentType),
    metadata: { ...upload.metadata },
    ...present('digest', upload.digest && formatDigest(upload.digest.algorithm, upload.digest.value)),
    ...(upload.state === 'open' && store.capabilities.presigns ? { signedChecksum: store.pinsBy() } : {}),
    ...present('etag', upload.etag),
    ...(upload.state === 'completed' && deps.readsObjects ? { location: locationOf(upload, publicUrlOf(deps)) } : {}),
    createdAt: upload.createdAt.toISOString(),
    updatedAt: upload.updatedAt.toISOString(),
    expiresAt: upload.expiresAt.toISOString(),
    ...present('completedAt', upload.completedAt?.toISOString()),
    protocol: upload.protocol,
  };
}

function renderParts(
  { partSizeBytes, growEvery, maxPartSizeBytes }: PlannedLayout,
  sizeBytes: number | undefined,
): Partial<UploadJson> {
  if (growEvery === undefined) return { partSize: partSizeBytes };
  if (sizeBytes !== undefined && sizeBytes <= growEvery * partSizeBytes) return { partSize: partSizeBytes };
  return { partSize: partSizeBytes, growEvery, ...present('maxPartSize', maxPartSizeBytes) };
}

/** Where the gateway serves the object, if it does. */
function locationOf({ bucket, key }: Upload, publicUrl: string): string {
  return `${publicUrl}/objects/${key.split('/').map(encodeURIComponent).join('/')}?bucket=${encodeURIComponent(bucket)}`;
}

export function renderPart(part: Part): PartJson {
  const [known] = Object.entries(part.digests);
  return {
    partNumber: part.partNumber,
    ...present('offset', part.offset),
    size: part.sizeBytes,
    etag: part.etag,
    ...(known === undefined ? {} : { checksum: formatDigests(part) }),
  };
}

function formatDigests({ digests }: Part): string {
  return (Object.keys(digests) as (keyof typeof digests)[])
    .map((algorithm) => formatDigest(algorithm, digests[algorithm] ?? ''))
    .join(', ');
}

export function renderMissing({ partNumber, offset, sizeBytes }: MissingPart): MissingPartJson {
  return { partNumber, ...present('offset', offset), ...present('size', sizeBytes) };
}

function present<Name extends string, Value>(name: Name, value: Value | undefined): { [N in Name]?: Value } {
  return value === undefined ? {} : ({ [name]: value } as { [N in Name]: Value });
}
