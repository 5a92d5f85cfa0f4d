import { type BigIntStats, constants } from 'node:fs';
import { type FileHandle, open, stat } from 'node:fs/promises';
import { basename, resolve } from 'node:path';
import { SourceError } from '../errors.ts';
import type { SeekableSource } from '../sources/source.ts';
import type { RequestBody } from '../transport/transport.ts';

const pieceBytes = 512 * 1024;

/** A range of an open file. */
export interface FileRange {
  readonly descriptor: number;
  readonly offset: number;
  readonly sizeBytes: number;
}

export interface FileBody extends RequestBody {
  /** The digest that `compute` finds, if the file is unchanged afterwards. @throws SourceError */
  hash(compute: (file: FileRange) => Promise<Uint8Array>): Promise<Uint8Array>;
}

export function isFileBody(body: RequestBody): body is FileBody {
  return 'hash' in body;
}

/** A regular file. Whatever is read of it is handed on only while it is the file that was opened. */
export async function fileSource(path: string): Promise<SeekableSource> {
  // A pipe with a name would be waited for, without end, until somebody writes to it.
  const handle = await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0)).catch((error: unknown) => {
    throw missing(path, error);
  });
  const found = await handle.stat({ bigint: true });
  if (!found.isFile()) {
    await handle.close();
    throw new SourceError(`${path} is not a regular file`, { code: 'source_missing' });
  }
  const identity = identityOf(found);

  async function requireUnchanged(): Promise<void> {
    const now = await stat(path, { bigint: true }).catch((error: unknown) => {
      throw missing(path, error);
    });
    if (identityOf(now) === identity) return;
    throw new SourceError(
      `${path} has changed while it was being sent (${identity}, now ${identityOf(now)}). Nothing was completed.`,
      { code: 'source_changed' },
    );
  }

  return {
    kind: 'seekable',
    name: basename(path),
    sizeBytes: Number(found.size),
    identity: async () => identity,
    place: resolve(path),
    requireUnchanged,
    range: (offset, sizeBytes): FileBody => ({
      sizeBytes,
      async hash(compute) {
        const digest = await compute({ descriptor: handle.fd, offset, sizeBytes }).catch((error: unknown) => {
          throw unreadable(path, error);
        });
        await requireUnchanged();
        return digest;
      },
      async *pieces() {
        // Two buffers: the next piece is read while the last one leaves.
        const buffers = [newBuffer(sizeBytes), newBuffer(sizeBytes - pieceBytes)] as const;
        const end = offset + sizeBytes;
        const read = (at: number, index: number) =>
          readFully(handle, buffers[index % 2 === 0 ? 0 : 1].subarray(0, Math.min(pieceBytes, end - at)), at, path);
        let next = sizeBytes === 0 ? undefined : read(offset, 0);
        for (let at = offset, index = 0; next !== undefined; index++) {
          const piece = await next;
          at += piece.length;
          const isLast = at >= end;
          next = isLast ? undefined : read(at, index + 1);
          next?.catch(() => {});
          if (isLast) await requireUnchanged();
          yield piece;
        }
      },
    }),
    close: () => handle.close(),
  };
}

function newBuffer(wantedBytes: number): Buffer {
  return Buffer.allocUnsafeSlow(Math.max(0, Math.min(pieceBytes, wantedBytes)));
}

/** @throws SourceError */
async function readFully(handle: FileHandle, buffer: Buffer, at: number, path: string): Promise<Buffer> {
  let length = 0;
  while (length < buffer.length) {
    const { bytesRead } = await handle.read(buffer, length, buffer.length - length, at + length).catch((error) => {
      throw unreadable(path, error);
    });
    if (bytesRead === 0) throw new SourceError(`${path} has become shorter.`, { code: 'source_changed' });
    length += bytesRead;
  }
  return buffer;
}

/** Programs put a modification time back (disk images, rsync --inplace -t); the time of change is the kernel's own. */
function identityOf({ size, mtimeNs, ctimeNs, ino }: BigIntStats): string {
  return `${size} bytes, modified ${mtimeNs} ns, changed ${ctimeNs} ns, inode ${ino}`;
}

function unreadable(path: string, error: unknown): SourceError {
  return new SourceError(`${path}: ${error instanceof Error ? error.message : String(error)}`, {
    code: 'source_unreadable',
    cause: error,
  });
}

function missing(path: string, error: unknown): SourceError {
  const why = error instanceof Error && 'code' in error ? String(error.code) : String(error);
  const words: Record<string, string> = { ENOENT: 'there is no such file', EACCES: 'it may not be read' };
  return new SourceError(`${path}: ${words[why] ?? why}`, { code: 'source_missing', cause: error });
}
