import { open, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { type ObjectAddress, type ObjectFacts, type StoredPart, StoreError } from '../../core/object-store.ts';
import { isMissing } from './errors.ts';
import { discard, moveInto, namesIn, removeEmpty, syncDirectory } from './files.ts';
import { partPath } from './part-files.ts';
import { manifestPath, type Places } from './places.ts';

/** An object's facts, and the part files that are its content. */
export interface Manifest extends ObjectFacts {
  readonly key: string;
  readonly lastModified: Date;
  readonly parts: readonly StoredPart[];
}

/** One version of an object: a directory, which is there as a whole or not at all. */
export interface Version {
  readonly directory: string;
  readonly manifest: Manifest;
}

export async function writeManifest(path: string, manifest: Manifest): Promise<void> {
  await using file = await open(path, 'w');
  await file.writeFile(JSON.stringify(manifest));
  await file.sync();
}

async function readManifest(path: string): Promise<Manifest> {
  const written = JSON.parse(await readFile(path, 'utf8')) as Manifest & { lastModified: string };
  return { ...written, contentType: written.contentType, lastModified: new Date(written.lastModified) };
}

/**
 * Makes a directory of parts, with its manifest, the object at the key: by one rename, after which what was
 * there before is removed. `false`: the directory is gone, another call completed or aborted the upload.
 */
export async function commitVersion(
  places: Places,
  address: ObjectAddress,
  staged: { readonly directory: string; readonly manifestId: string; readonly parts: readonly StoredPart[] },
): Promise<boolean> {
  await syncDirectory(staged.directory);
  const versions = places.versionsOf(address);
  const name = `${nextTime((await namesIn(versions)).at(-1))}-${staged.manifestId}`;
  if (!(await moveInto(versions, staged.directory, name))) {
    await removeEmpty(versions);
    return false;
  }
  await removeOlderVersions(places, versions).catch(() => undefined);
  await removeAllBut(join(versions, name), staged).catch(() => undefined);
  return true;
}

/** Also where the clock was set back, a new version is later than those before it. */
function nextTime(newest: string | undefined): string {
  const afterMs = newest === undefined ? 0 : Number.parseInt(newest.slice(0, 12), 16) + 1;
  return Math.max(Date.now(), afterMs).toString(16).padStart(12, '0');
}

async function removeOlderVersions(places: Places, versions: string): Promise<void> {
  const older = (await namesIn(versions)).slice(0, -1);
  for (const name of older) await discard(places.trash, join(versions, name));
}

/** Parts that were not chosen, and what attempts and other tries to complete have left. */
async function removeAllBut(
  directory: string,
  chosen: { readonly manifestId: string; readonly parts: readonly StoredPart[] },
): Promise<void> {
  const keep = new Set(chosen.parts.map((part) => partPath(directory, part)));
  for await (const path of filesBelow(directory)) {
    if (!keep.has(path) && path !== manifestPath(directory, chosen.manifestId)) await rm(path, { force: true });
  }
}

async function* filesBelow(directory: string): AsyncIterable<string> {
  for (const entry of await readdir(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) yield* filesBelow(path);
    else yield path;
  }
}

/**
 * Opens the object at a key. An overwrite or delete meanwhile makes files disappear: `use` is then called
 * again with the version that took the place.
 * @returns `undefined` where nothing is at the key
 */
export async function withNewestVersion<T>(
  versions: string,
  use: (version: Version) => Promise<T>,
): Promise<T | undefined> {
  let damaged: string | undefined;
  for (;;) {
    const newest = (await namesIn(versions)).at(-1);
    if (newest === undefined) return undefined;
    if (newest === damaged) throw new StoreError('unavailable', `files of the object in ${versions} are missing`);
    try {
      const directory = join(versions, newest);
      return await use({ directory, manifest: await readManifest(manifestPath(directory, newest.slice(13))) });
    } catch (error) {
      if (!isMissing(error)) throw error;
      damaged = newest;
    }
  }
}
