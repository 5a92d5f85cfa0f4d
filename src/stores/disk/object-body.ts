import { type FileHandle, open } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { type ByteRange, StoreError } from '../../core/ports.ts';
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
 * The content of a version, or a range of it. All its files are open before the first byte is read: an
 * overwrite or delete meanwhile takes away their names only.
 */
export async function openBody(
  version: Version,
  range: ByteRange | undefined,
): Promise<{ readonly body: Readable; readonly bodySizeBytes: number }> {
  const segments = segmentsOf(version, range);
  const files: FileHandle[] = [];
  try {
    for (const segment of segments) files.push(await open(segment.path, 'r'));
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

function stream(segments: readonly Segment[], files: readonly FileHandle[]): Readable {
  let index = 0;
  let doneBytes = 0;

  const next = async (): Promise<Buffer | null> => {
    const segment = segments[index];
    const file = files[index];
    if (segment === undefined || file === undefined) return null;
    const length = Math.min(chunkBytes, segment.sizeBytes - doneBytes);
    const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(length), 0, length, segment.offset + doneBytes);
    if (bytesRead === 0) throw new StoreError('unavailable', `${segment.path} is shorter than it was`);
    doneBytes += bytesRead;
    if (doneBytes === segment.sizeBytes) {
      await file.close();
      index += 1;
      doneBytes = 0;
    }
    return buffer.subarray(0, bytesRead);
  };

  return new Readable({
    highWaterMark: chunkBytes,
    read() {
      next().then(
        (chunk) => this.push(chunk),
        (error) => this.destroy(toStoreError('getObject', error) as Error),
      );
    },
    destroy(error, callback) {
      closeAll(files).then(() => callback(error), callback);
    },
  });
}

async function closeAll(files: readonly FileHandle[]): Promise<void> {
  await Promise.all(files.map((file) => file.close()));
}
