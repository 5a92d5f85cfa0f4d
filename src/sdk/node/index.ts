import { PartwayClient as Client } from '../client.ts';
import { openSource, type UploadSource } from '../index.ts';
import type { ServerOptions, UploadOptions, UploadTask } from '../options.ts';
import { RunningUpload } from '../upload.ts';
import { fileSource } from './file-source.ts';
import { nodeHashes } from './node-hashes.ts';
import { nodeTransport } from './node-transport.ts';

/** A file, by its path. */
export interface FilePath {
  readonly path: string;
}

/**
 * Uploads, and goes on where an earlier call was cut off, as far as `resumeStore` or `uploadId` tell of it.
 * @throws UsageError
 */
export function upload(source: UploadSource | FilePath, options: UploadOptions): UploadTask {
  return new RunningUpload({ transport: nodeTransport, hashes: nodeHashes, open }, source, options);
}

/** The REST contract, call by call. */
export class PartwayClient extends Client {
  constructor(options: ServerOptions) {
    super(options, nodeTransport);
  }
}

function open(source: unknown) {
  const isPath = typeof source === 'object' && source !== null && 'path' in source && !(source instanceof Blob);
  // A stream of node:fs has a path, too.
  if (isPath && typeof source.path === 'string' && !(Symbol.asyncIterator in source)) return fileSource(source.path);
  return openSource(source);
}

export type * from '../contract.ts';
export * from '../errors.ts';
export type { UploadSource } from '../index.ts';
export type * from '../options.ts';
export { resumeFingerprint } from '../resume-fingerprint.ts';
