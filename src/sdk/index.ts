import { PartwayClient as Client } from './client.ts';
import { UsageError } from './errors.ts';
import { wasmHashes } from './hashes.ts';
import type { ServerOptions, UploadOptions, UploadTask } from './options.ts';
import { blobSource } from './sources/blob-source.ts';
import { bytesSource } from './sources/bytes-source.ts';
import type { Source } from './sources/source.ts';
import { fetchTransport } from './transport/fetch-transport.ts';
import type { Transport } from './transport/transport.ts';
import { xhrTransport } from './transport/xhr-transport.ts';
import { RunningUpload } from './upload.ts';

/** A file that was chosen, bytes in memory, or what comes once, of unknown length. */
export type UploadSource = Blob | Uint8Array | AsyncIterable<Uint8Array>;

/**
 * Uploads, and goes on where an earlier call was cut off, as far as `resumeStore` or `uploadId` tell of it. Runs in
 * browsers and workers; Node has an entry of its own, which takes paths, too.
 * @throws UsageError
 */
export function upload(source: UploadSource, options: UploadOptions): UploadTask {
  return new RunningUpload({ transport: transport(), hashes: wasmHashes, open: openSource }, source, options);
}

/** The REST contract, call by call. */
export class PartwayClient extends Client {
  constructor(options: ServerOptions) {
    super(options, transport());
  }
}

function transport(): Transport {
  return 'XMLHttpRequest' in globalThis ? xhrTransport : fetchTransport;
}

/** @throws UsageError */
export async function openSource(source: unknown): Promise<Source> {
  if (source instanceof Uint8Array) return bytesSource(source);
  if (source instanceof Blob) return blobSource(source);
  if (typeof source === 'object' && source !== null && Symbol.asyncIterator in source) {
    return { kind: 'stream', sizeBytes: undefined, pieces: source as AsyncIterable<Uint8Array> };
  }
  throw new UsageError('source: a Blob, bytes, or an async iterable of bytes');
}

export type * from './contract.ts';
export * from './errors.ts';
export type * from './options.ts';
