import { randomBytes, randomUUID } from 'node:crypto';
import { mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { type StoreBody, type StoredPart, StoreError } from '../../core/object-store.ts';
import { isMissing } from './errors.ts';
import { namesIn, syncDirectory } from './files.ts';
import { isManifest } from './places.ts';

/**
 * A part is one file, and all that is known of it is in the file's name: number, ETag, size. An ETag begins
 * with the time of its write, so that of two files of one number the later one sorts last, and counts.
 */
const partFileName = /^(\d{5})\.([0-9a-f]{12}-[0-9a-f]{16})\.(\d+)$/;

/** A directory holds the parts of a hundred numbers: storing one then costs the same whatever their number. */
const groupName = /^parts-\d{3}$/;

export function partPath(directory: string, part: StoredPart): string {
  return join(groupPath(directory, part.partNumber), nameOf(part));
}

function groupPath(directory: string, partNumber: number): string {
  return join(directory, `parts-${String(Math.floor(partNumber / 100)).padStart(3, '0')}`);
}

function nameOf({ partNumber, etag, sizeBytes }: StoredPart): string {
  return `${String(partNumber).padStart(5, '0')}.${etag.slice(1, -1)}.${sizeBytes}`;
}

function parse(name: string): StoredPart | undefined {
  const [, partNumber, etag, sizeBytes] = partFileName.exec(name) ?? [];
  if (partNumber === undefined) return undefined;
  return { partNumber: Number(partNumber), etag: `"${etag}"`, sizeBytes: Number(sizeBytes) };
}

/** The parts that count, in ascending order. */
export async function* listParts(directory: string): AsyncIterable<StoredPart> {
  const groups = (await readdir(directory)).filter((name) => groupName.test(name)).sort();
  for (const group of groups) {
    const parts = (await readdir(join(directory, group))).sort().flatMap((name) => parse(name) ?? []);
    const latest = new Map(parts.map((part) => [part.partNumber, part]));
    yield* latest.values();
  }
}

/** Stores one whole part; only when it is in place are older files of its number removed. */
export async function storePart(
  directory: string,
  input: { readonly partNumber: number; readonly body: StoreBody; readonly sizeBytes: number },
  signal?: AbortSignal,
): Promise<StoredPart> {
  const { partNumber, body, sizeBytes } = input;
  const incoming = join(directory, `incoming-${randomUUID()}`);
  try {
    await writeWhole(incoming, body, sizeBytes);
    signal?.throwIfAborted();
    const older = await filesOf(directory, partNumber);
    const part = { partNumber, etag: nextEtag(older), sizeBytes };
    await put(incoming, directory, part);
    await removeReplaced(directory, older);
    return part;
  } catch (error) {
    await rm(incoming, { force: true }).catch(() => undefined);
    throw error;
  }
}

async function writeWhole(path: string, body: StoreBody, sizeBytes: number): Promise<void> {
  await using file = await open(path, 'wx');
  await file.writeFile(body instanceof Readable ? wholeStream(body, sizeBytes) : wholeBytes(body, sizeBytes));
  await file.sync();
}

function wholeBytes(body: Exclude<StoreBody, Readable>, sizeBytes: number): readonly Buffer[] {
  const buffers = Buffer.isBuffer(body) ? [body] : body;
  const length = buffers.reduce((sum, buffer) => sum + buffer.length, 0);
  if (length !== sizeBytes) throw brokenOff(`it has ${length} of ${sizeBytes} bytes`);
  return buffers;
}

async function* wholeStream(body: Readable, sizeBytes: number): AsyncGenerator<Buffer> {
  let seenBytes = 0;
  const chunks = body[Symbol.asyncIterator]();
  for (;;) {
    const next = await chunks.next().catch((error: Error) => {
      throw brokenOff(`${error.message} after ${seenBytes} of ${sizeBytes} bytes`, error);
    });
    if (next.done) break;
    seenBytes += next.value.length;
    if (seenBytes > sizeBytes) throw brokenOff(`it has more than ${sizeBytes} bytes`);
    yield next.value;
  }
  if (seenBytes < sizeBytes) throw brokenOff(`it ended after ${seenBytes} of ${sizeBytes} bytes`);
}

function brokenOff(why: string, cause?: unknown): StoreError {
  return new StoreError('unavailable', `the body broke off: ${why}`, { cause });
}

async function filesOf(directory: string, partNumber: number): Promise<StoredPart[]> {
  const parts = (await namesIn(groupPath(directory, partNumber))).flatMap((name) => parse(name) ?? []);
  return parts.filter((part) => part.partNumber === partNumber);
}

/** Also where the clock was set back, a new part is later than those before it. */
function nextEtag(older: readonly StoredPart[]): string {
  const before = older.map(({ etag }) => Number.parseInt(etag.slice(1, 13), 16));
  const writtenAtMs = Math.max(Date.now(), ...before.map((ms) => ms + 1));
  return `"${writtenAtMs.toString(16).padStart(12, '0')}-${randomBytes(8).toString('hex')}"`;
}

async function put(incoming: string, directory: string, part: StoredPart): Promise<void> {
  const path = partPath(directory, part);
  try {
    await rename(incoming, path);
  } catch (error) {
    if (!isMissing(error)) throw error;
    // Not with its parents: an upload that has ended must not come back.
    await mkdir(dirname(path)).catch((failure: NodeJS.ErrnoException) => {
      if (failure.code !== 'EEXIST') throw failure;
    });
    await syncDirectory(directory);
    await rename(incoming, path);
  }
  await syncDirectory(dirname(path));
}

/**
 * A Complete announces itself before it looks which parts there are. One that is not announced yet will find
 * the newer file; one that is may have chosen an older file, and removes what it did not choose.
 */
async function removeReplaced(directory: string, replaced: readonly StoredPart[]): Promise<void> {
  if (replaced.length === 0) return;
  if ((await namesIn(directory)).some(isManifest)) return;
  await Promise.all(replaced.map((part) => rm(partPath(directory, part), { force: true }).catch(() => undefined)));
}
