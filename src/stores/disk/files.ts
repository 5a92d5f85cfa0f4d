import { randomUUID } from 'node:crypto';
import { constants } from 'node:fs';
import { access, mkdir, open, readdir, rename, rm, rmdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { isMissing } from './errors.ts';

/** Makes entries of a directory outlast a power cut. One that is gone has nothing to keep. */
export async function syncDirectory(path: string): Promise<void> {
  try {
    await using directory = await open(path, constants.O_RDONLY);
    await directory.sync();
  } catch (error) {
    if (!isMissing(error)) throw error;
  }
}

/** Creates a directory with its parents, so that they outlast a power cut. */
async function makeDirectories(path: string): Promise<void> {
  const first = await mkdir(path, { recursive: true });
  if (first === undefined) return;
  for (let created = path; ; created = dirname(created)) {
    await syncDirectory(dirname(created));
    if (created.length <= first.length) return;
  }
}

export async function writeNewFile(path: string, text: string): Promise<void> {
  await using file = await open(path, 'wx');
  await file.writeFile(text);
  await file.sync();
}

/** Each further try means that another call removed the directory in the very moment between two steps. */
const maxMoveTries = 100;

/**
 * Moves a directory into another, by one rename: whoever looks finds it in the one place or in the other.
 * `false`: it is no longer there, another call moved it.
 */
export async function moveInto(directory: string, from: string, name = basename(from)): Promise<boolean> {
  for (let tries = 1; ; tries++) {
    try {
      await makeDirectories(directory);
      await rename(from, join(directory, name));
      break;
    } catch (error) {
      if (!isMissing(error) || tries === maxMoveTries) throw error;
      if (!(await exists(from))) return false;
    }
  }
  await syncDirectory(directory);
  await syncDirectory(dirname(from));
  return true;
}

/** Removes a directory with all in it, at once for whoever looks. `false`: it was not there. */
export async function discard(trash: string, path: string): Promise<boolean> {
  const name = randomUUID();
  const moved = await moveInto(trash, path, name);
  if (moved) await removeTree(join(trash, name));
  return moved;
}

/** What cannot be removed now is removed when a store is next opened. */
export async function removeTree(path: string): Promise<void> {
  await rm(path, { recursive: true, force: true }).catch(() => undefined);
}

/** Others may be using the directory, or make it anew: then it stays, or `moveInto` makes it again. */
export async function removeEmpty(path: string): Promise<void> {
  await rmdir(path).catch(() => undefined);
}

/** The names in a directory, sorted; none where it is not there. */
export async function namesIn(path: string): Promise<string[]> {
  try {
    return (await readdir(path)).sort();
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await access(path);
    return true;
  } catch (error) {
    if (isMissing(error)) return false;
    throw error;
  }
}
