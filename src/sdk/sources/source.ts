import type { Hashes } from '../hashes.ts';
import type { RequestBody } from '../transport/transport.ts';

/** A source that can be read anywhere, and again. */
export interface SeekableSource {
  readonly kind: 'seekable';
  readonly name: string | undefined;
  readonly sizeBytes: number;
  /** Tells one content from another: without reading it where something else does. */
  identity(hashes: Hashes): Promise<string>;
  /** Tells this source from others where uploads are remembered. */
  readonly place: string;
  /**
   * A range of it. Its last piece is handed out only while the source is what it was when it was opened.
   * @throws SourceError from the pieces
   */
  range(offset: number, sizeBytes: number): RequestBody;
  /** @throws SourceError `source_changed`, `source_missing` */
  requireUnchanged(): Promise<void>;
  close(): Promise<void>;
}

/** A source that comes once, from its beginning to its end. */
export interface StreamSource {
  readonly kind: 'stream';
  readonly sizeBytes: number | undefined;
  readonly pieces: AsyncIterable<Uint8Array>;
}

export type Source = SeekableSource | StreamSource;
