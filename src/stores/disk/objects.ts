import { randomBytes } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import {
  type ByteRange,
  type ObjectAddress,
  type ObjectFacts,
  type StoreBody,
  StoreError,
} from '../../core/object-store.ts';
import { abandoned } from './errors.ts';
import { discard, namesIn, removeTree } from './files.ts';
import { openBody } from './object-body.ts';
import { storePart } from './part-files.ts';
import { manifestPath, type Places } from './places.ts';
import { commitVersion, type Manifest, withNewestVersion, writeManifest } from './versions.ts';

export async function putObject(
  places: Places,
  input: ObjectAddress & {
    readonly body: StoreBody;
    readonly sizeBytes: number;
    readonly contentType?: string | undefined;
    readonly metadata: Readonly<Record<string, string>>;
  },
  signal?: AbortSignal,
): Promise<{ etag: string }> {
  const { key, contentType, metadata, body, sizeBytes } = input;
  const manifestId = randomBytes(16).toString('hex');
  const directory = join(places.drafts, manifestId);
  const etag = `"${manifestId}"`;
  await mkdir(directory, { recursive: true });
  try {
    const parts = [await storePart(directory, { partNumber: 1, body, sizeBytes }, signal)];
    const lastModified = new Date();
    const manifest = { key, contentType, metadata, etag, sizeBytes, lastModified, parts };
    await writeManifest(manifestPath(directory, manifestId), manifest);
    if (!(await commitVersion(places, input, { directory, manifestId, parts }))) throw abandoned(directory);
  } catch (error) {
    await removeTree(directory);
    throw error;
  }
  return { etag };
}

export interface OpenObject extends ObjectFacts {
  readonly body: Readable;
  readonly bodySizeBytes: number;
}

export async function openObject(
  places: Places,
  address: ObjectAddress,
  range: ByteRange | undefined,
): Promise<OpenObject> {
  const found = await withNewestVersion(places.versionsOf(address), async (version) => ({
    ...factsOf(version.manifest),
    ...(await openBody(version, range)),
  }));
  if (found === undefined) throw new StoreError('no_such_object', `nothing is at ${JSON.stringify(address.key)}`);
  return found;
}

export async function headObject(places: Places, address: ObjectAddress): Promise<ObjectFacts | undefined> {
  return withNewestVersion(places.versionsOf(address), async ({ manifest }) => factsOf(manifest));
}

export async function deleteObject(places: Places, address: ObjectAddress): Promise<void> {
  await discard(places.trash, places.versionsOf(address));
}

export async function* listObjects(
  places: Places,
  bucket: string,
  prefix: string,
): AsyncIterable<{ key: string; sizeBytes: number; lastModified: Date }> {
  const objects = places.objectsIn(bucket);
  const found: { key: string; sizeBytes: number; lastModified: Date }[] = [];
  for (const name of await namesIn(objects)) {
    const manifest = await withNewestVersion(join(objects, name), async (version) => version.manifest);
    if (manifest?.key.startsWith(prefix)) {
      const { key, sizeBytes, lastModified } = manifest;
      found.push({ key, sizeBytes, lastModified });
    }
  }
  // S3 lists in the order of the keys' UTF-8 bytes.
  yield* found.sort((a, b) => Buffer.compare(Buffer.from(a.key), Buffer.from(b.key)));
}

function factsOf({ sizeBytes, etag, contentType, metadata, lastModified }: Manifest): ObjectFacts {
  return { sizeBytes, etag, contentType, metadata, lastModified };
}
