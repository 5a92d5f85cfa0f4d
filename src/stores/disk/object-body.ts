import { type FileHandle, open } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { type ByteRange, StoreError } from '../../core/object-store.ts';
import { sizeOf } from './choose-parts.ts';
import { toStoreError } from './errors.ts';
import { partPath } from './part-files.ts';
import type { Version } from './versions.ts';

const chunkBytes = 128 * 1024;

interface Segment {
  readonly path: string;
  readonly offset: number;
  readonly sizeBytes: number;
}

/**
 * The files of a reader that are open at a time. An overwrite or delete takes away only their names, so whoever reads an
 * object of so few parts reads on to its end; of one with 10,000 the first byte does not wait for all of them.
 */
const openAtOnce = 64;

/** The content of a version, or a range of it. It breaks off where a part goes before it was opened. */
export async function openBody(
  version: Version,
  range: ByteRange | undefined,
): Promise<{ readonly body: Readable; readonly bodySizeBytes: number }> {
  const segments = segmentsOf(version, range);
  const files: FileHandle[] = [];
  try {
    for (const { path } of segments.slice(0, openAtOnce)) files.push(await open(path, 'r'));
  } catch (error) {
    await closeAll(files);
    throw error;
  }
  return { body: stream(segments, files), bodySizeBytes: sizeOf(segments) };
}

function segmentsOf({ directory, manifest }: Version, range: ByteRange | undefined): Segment[] {
  const first = range?.first ?? 0;
  const end = Math.min((range?.last ?? manifest.sizeBytes) + 1, manifest.sizeBytes);
  if (range !== undefined && (first < 0 || first >= end)) {
    throw new StoreError('range_not_satisfiable', `the object has ${manifest.sizeBytes} bytes`);
  }
  const segments: Segment[] = [];
  let start = 0;
  for (const part of manifest.parts) {
    const from = Math.max(first, start);
    const to = Math.min(end, start + part.sizeBytes);
    if (from < to) segments.push({ path: partPath(directory, part), offset: from - start, sizeBytes: to - from });
    start += part.sizeBytes;
  }
  return segments;
}

/** @param files of the first segments, open; those of the others are opened as these are closed */
function stream(segments: readonly Segment[], files: FileHandle[]): Readable {
  let index = 0;
  let doneBytes = 0;
  let reading: Promise<unknown> = Promise.resolve();

  const next = async (): Promise<Buffer | null> => {
    const segment = segments[index];
    const file = files[0];
    if (segment === undefined || file === undefined) return null;
    const length = Math.min(chunkBytes, segment.sizeBytes - doneBytes);
    const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(length), 0, length, segment.offset + doneBytes);
    if (bytesRead === 0) throw new StoreError('unavailable', `${segment.path} is shorter than it was`);
    doneBytes += bytesRead;
    if (doneBytes === segment.sizeBytes) {
      files.shift();
      await file.close();
      const upcoming = segments[index + openAtOnce];
      if (upcoming !== undefined) files.push(await open(upcoming.path, 'r'));
      index += 1;
      doneBytes = 0;
    }
    return buffer.subarray(0, bytesRead);
  };

  return new Readable({
    highWaterMark: chunkBytes,
    read() {
      reading = next().then(
        (chunk) => this.push(chunk),
        (error) => this.destroy(toStoreError('getObject', error) as Error),
      );
    },
    destroy(error, callback) {
      // A file that is being opened is closed with the others.
      reading.then(() => closeAll(files)).then(() => callback(error), callback);
    },
  });
}

async function closeAll(files: readonly FileHandle[]): Promise<void> {
  await Promise.all(files.map((file) => file.close()));
}
