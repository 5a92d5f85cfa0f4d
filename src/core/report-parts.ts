import { decideLayout } from './decide-layout.ts';
import type { Deps } from './deps.ts';
import type { Digests } from './digest.ts';
import { UploadError } from './errors.ts';
import { isSameEtag, unquoted } from './etag.ts';
import { findUpload, multipartOf, notOpen, type OpenUpload, requireOpen } from './find.ts';
import { carriesMd5 } from './kept-digests.ts';
import { rangeOf } from './layout.ts';
import { requireSize } from './limits.ts';
import { toldOf } from './lose.ts';
import type { StoredPart } from './object-store.ts';
import { partsOf } from './parts-of.ts';
import { beyondSizeError, laterBytesError, requireLimits } from './place-part.ts';
import type { Principal } from './principal.ts';
import { tellingFaults } from './store-faults.ts';
import { withinStoreWait } from './store-wait.ts';
import type { Upload } from './upload.ts';
import type { AdoptedPart } from './upload-records.ts';

export interface ReportedPart {
  readonly partNumber: number;
  /** With or without quotes. */
  readonly etag: string;
  readonly sizeBytes?: number | undefined;
  /** What the client states of its content. Kept where the store's ETag proves it. */
  readonly digests?: Digests | undefined;
}

/**
 * Puts parts on record that went straight to the store, as far as the store's own list agrees; it is asked once.
 * @throws UploadError `incomplete` with those that it does not show so; the others are on record then
 */
export async function reportParts(
  deps: Deps,
  input: { readonly principal: Principal; readonly uploadId: string; readonly parts: readonly ReportedPart[] },
): Promise<Upload> {
  const upload = await decideLayout(deps, requireOpen(await findUpload(deps, input.principal, input.uploadId)));
  const named = new Set(input.parts.map(({ partNumber }) => partNumber));
  if (named.size < input.parts.length) {
    throw new UploadError('invalid_request', 'A part is reported twice.', { details: { field: 'parts' } });
  }
  for (const { partNumber } of input.parts) requireLimits(deps.store.limits, { partNumber, sizeBytes: 0 });
  // Behind parts that the store has: what is on record without a gap need not be listed again with each report.
  const after = Math.min(upload.contiguousParts, Math.min(...named) - 1);
  const recorded = new Map((await partsOf(deps, upload.id, after)).map(({ partNumber, etag }) => [partNumber, etag]));
  const listed = new Map((await listAtStore(deps, upload, after)).map((part) => [part.partNumber, part]));
  const agreed: AdoptedPart[] = [];
  const missing: ReportedPart[] = [];
  let fixesSizeBytes: number | undefined;
  for (const reported of input.parts) {
    const stored = listed.get(reported.partNumber);
    const place = stored && agrees(stored, reported) ? placeOf(upload, stored, input.parts) : undefined;
    if (stored === undefined || place === undefined) {
      missing.push(reported);
      continue;
    }
    agreed.push({
      ...stored,
      offset: place.offset,
      digests: provenDigests(deps, stored, reported),
      replacesEtag: recorded.get(stored.partNumber),
    });
    fixesSizeBytes ??= place.endsUploadAt;
  }
  requireTotal(deps, upload, agreed);
  if (carriesMd5(upload)) await deps.records.dropDigestChain(upload.id);
  const adopted = await deps.records.adoptParts({ uploadId: upload.id, parts: agreed, fixesSizeBytes });
  if (adopted.kind !== 'adopted') {
    if (adopted.kind === 'busy') {
      throw new UploadError('busy', 'A request for one of these parts is under way. Try again.', {
        retryAfterSeconds: 1,
      });
    }
    if (adopted.kind === 'not_open') throw notOpen(await findUpload(deps, input.principal, input.uploadId));
    throw fixesSizeBytes === undefined ? beyondSizeError(upload.sizeBytes) : laterBytesError();
  }
  if (missing.length === 0) return adopted.upload;
  throw new UploadError('incomplete', 'The store does not show these parts as reported. Send them again.', {
    details: { missing: missing.slice(0, 1000).map(({ partNumber }) => missingSlot(upload, partNumber)) },
  });
}

/** @throws UploadError `limit_exceeded` */
function requireTotal(deps: Deps, upload: OpenUpload, agreed: readonly AdoptedPart[]): void {
  const end = Math.max(0, ...agreed.map(({ offset = 0, sizeBytes }) => offset + sizeBytes));
  const added = agreed.filter(({ replacesEtag }) => replacesEtag === undefined);
  const total = upload.receivedBytes + added.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  requireSize(upload.layout.kind === 'planned' ? end : total, deps.settings);
}

async function listAtStore(deps: Deps, upload: OpenUpload, after: number): Promise<StoredPart[]> {
  const address = { ...multipartOf(upload), after };
  return withinStoreWait(deps, [deps.halted], async (options) => {
    try {
      return await tellingFaults(deps, 'listParts', upload.id, () =>
        Array.fromAsync(deps.store.listParts(address, options)),
      );
    } catch (error) {
      throw await toldOf(deps, upload, error, options);
    }
  });
}

/** On stores whose ETag is the MD5 of a part a stated MD5 is proven by it, or contradicted. */
function provenDigests(deps: Deps, { etag }: StoredPart, { digests }: ReportedPart): Digests {
  const md5 = digests?.md5;
  return md5 !== undefined && deps.store.capabilities.etagIsMd5 && md5Of(etag) === md5 ? { md5 } : {};
}

function md5Of(etag: string): string {
  return Buffer.from(unquoted(etag), 'hex').toString('base64');
}

function agrees(stored: StoredPart, reported: ReportedPart): boolean {
  return (
    isSameEtag(stored.etag, reported.etag) &&
    (reported.sizeBytes === undefined || reported.sizeBytes === stored.sizeBytes)
  );
}

/** Where the stored part belongs; `undefined` when its size is not its slot's. */
function placeOf(
  upload: OpenUpload,
  stored: StoredPart,
  reported: readonly ReportedPart[],
): { offset: number | undefined; endsUploadAt?: number } | undefined {
  if (upload.layout.kind !== 'planned') return { offset: undefined };
  const slot = rangeOf(upload.layout, stored.partNumber, upload.sizeBytes);
  if (slot === undefined) return undefined;
  if (slot.sizeBytes === stored.sizeBytes) return { offset: slot.offset };
  const isLast = reported.every(({ partNumber }) => partNumber <= stored.partNumber);
  const mayBeLast = upload.sizeBytes === undefined && stored.sizeBytes < slot.sizeBytes && isLast;
  return mayBeLast ? { offset: slot.offset, endsUploadAt: slot.offset + stored.sizeBytes } : undefined;
}

function missingSlot(upload: OpenUpload, partNumber: number): Record<string, unknown> {
  const slot = upload.layout.kind === 'planned' ? rangeOf(upload.layout, partNumber, upload.sizeBytes) : undefined;
  return slot === undefined ? { partNumber } : { partNumber, offset: slot.offset, size: slot.sizeBytes };
}
