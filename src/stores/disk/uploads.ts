import { randomBytes, randomUUID } from 'node:crypto';
import { mkdir, open, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type MultipartAddress,
  type ObjectAddress,
  type StoredPart,
  StoreError,
  type StoreLimits,
} from '../../core/object-store.ts';
import { chooseParts, sizeOf } from './choose-parts.ts';
import { abandoned, isMissing, noSuchUpload } from './errors.ts';
import { discard, moveInto, namesIn, removeEmpty, removeTree, syncDirectory, writeNewFile } from './files.ts';
import { listParts } from './part-files.ts';
import { manifestPath, type Places } from './places.ts';
import { commitVersion, writeManifest } from './versions.ts';

interface UploadFile {
  readonly bucket: string;
  readonly key: string;
  readonly contentType?: string | undefined;
  readonly metadata: Readonly<Record<string, string>>;
  readonly initiatedAt: string;
}

const uploadFileName = 'upload.json';

export async function createUpload(places: Places, upload: UploadFile): Promise<string> {
  const uploads = places.uploadsOf(upload);
  const storeUploadId = randomUUID();
  const draft = join(places.drafts, storeUploadId);
  await mkdir(draft, { recursive: true });
  try {
    await writeNewFile(join(draft, uploadFileName), JSON.stringify(upload));
    await syncDirectory(draft);
    if (!(await moveInto(uploads, draft))) throw abandoned(draft);
  } catch (error) {
    await removeTree(draft);
    throw error;
  }
  return storeUploadId;
}

/** Open uploads to exactly this key. */
export async function* listUploads(
  places: Places,
  address: ObjectAddress,
): AsyncIterable<{ storeUploadId: string; initiatedAt: Date }> {
  const uploads = places.uploadsOf(address);
  for (const storeUploadId of await namesIn(uploads)) {
    const upload = await readUpload(join(uploads, storeUploadId));
    if (upload !== undefined) yield { storeUploadId, initiatedAt: new Date(upload.initiatedAt) };
  }
}

export async function abortUpload(places: Places, address: MultipartAddress): Promise<void> {
  await discard(places.trash, places.upload(address));
  await removeEmpty(places.uploadsOf(address));
}

/**
 * Turns an upload into the object at its key. The upload's directory is moved: of several calls that complete
 * or abort it one succeeds, and the others find no upload.
 */
export async function completeUpload(
  places: Places,
  limits: StoreLimits,
  input: MultipartAddress & {
    readonly parts: readonly { readonly partNumber: number; readonly etag: string }[];
    readonly ifNoneMatch?: boolean;
  },
): Promise<{ etag: string }> {
  const directory = places.upload(input);
  const manifestId = randomBytes(16).toString('hex');
  const path = manifestPath(directory, manifestId);
  try {
    await announce(path);
    const upload = await readUpload(directory);
    if (upload === undefined) throw noSuchUpload(input.storeUploadId);
    const parts = chooseParts(input.parts, await storedParts(directory), limits);
    if (input.ifNoneMatch && (await namesIn(places.versionsOf(input))).length > 0) {
      throw new StoreError('precondition_failed', `there is an object at ${JSON.stringify(upload.key)}`);
    }
    const etag = `"${manifestId}-${parts.length}"`;
    await writeManifest(path, {
      key: upload.key,
      contentType: upload.contentType,
      metadata: upload.metadata,
      etag,
      sizeBytes: sizeOf(parts),
      lastModified: new Date(),
      parts,
    });
    const isCommitted = await commitVersion(places, input, { directory, manifestId, parts });
    if (!isCommitted) throw noSuchUpload(input.storeUploadId);
    await removeEmpty(places.uploadsOf(input));
    return { etag };
  } catch (error) {
    await rm(path, { force: true }).catch(() => undefined);
    throw isMissing(error) ? noSuchUpload(input.storeUploadId) : error;
  }
}

/** From here on no part is removed because another takes its place; see `storePart`. */
async function announce(path: string): Promise<void> {
  const file = await open(path, 'wx');
  await file.close();
}

async function storedParts(directory: string): Promise<Map<number, StoredPart>> {
  const parts = new Map<number, StoredPart>();
  for await (const part of listParts(directory)) parts.set(part.partNumber, part);
  return parts;
}

async function readUpload(directory: string): Promise<UploadFile | undefined> {
  try {
    return JSON.parse(await readFile(join(directory, uploadFileName), 'utf8')) as UploadFile;
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}
