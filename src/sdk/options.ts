import type { UploadJson } from './contract.ts';
import type { PartwayError } from './errors.ts';

/**
 * How parts get to the store: `relay` through the gateway, `direct` by signed URLs; `auto` tries direct with the first
 * part and relays where that fails.
 */
export type UploadMode = 'auto' | 'relay' | 'direct';

/** Where the gateway is, and who asks. */
export interface ServerOptions {
  /** The gateway's URL, such as `http://127.0.0.1:8080`; a path before `/uploads` is kept. */
  readonly server: string | URL;
  /** An API key. As a function it is asked for each request. */
  readonly apiKey?: string | (() => string | Promise<string>) | undefined;
  /** A gateway or store that is silent for so long has lost the request. Default 60,000. */
  readonly timeoutMs?: number | undefined;
}

/** What was remembered of an upload, so that a later call goes on with it. A hint: what is stored, the gateway knows. */
export interface ResumeRecord {
  readonly server: string;
  readonly key: string | undefined;
  /** What tells a changed source: differs, and the call ends with SourceError `source_changed`. */
  readonly identity: string;
  /** Under this key the upload was, or was to be, created. */
  readonly idempotencyKey: string;
  readonly uploadId?: string | undefined;
  /** It is completed, and not sent again while its source is the same. */
  readonly isCompleted?: boolean | undefined;
}

/** Where records are kept over calls. `set` resolves once it will survive the process. */
export interface ResumeStore {
  get(fingerprint: string): Promise<ResumeRecord | undefined>;
  set(fingerprint: string, record: ResumeRecord): Promise<void>;
  delete(fingerprint: string): Promise<void>;
  /** Called in place of `delete` for an upload that is completed. A later call for the same source finds it so. */
  complete?(fingerprint: string): Promise<void>;
}

export interface UploadOptions extends ServerOptions {
  /** The object's key. Left out: the source's name, else the gateway's key template. */
  readonly key?: string | undefined;
  readonly bucket?: string | undefined;
  readonly contentType?: string | undefined;
  readonly metadata?: Readonly<Record<string, string>> | undefined;
  /** Complete only if nothing is at the key. */
  readonly ifNoneMatch?: '*' | undefined;
  readonly expiresInSeconds?: number | undefined;
  /** Bytes of each part but the last; chosen by the gateway otherwise. */
  readonly partSizeBytes?: number | undefined;
  /**
   * Goes on with this upload rather than to begin one. Its parts must be the source's, by their CRC-32 (SourceError), and its
   * key and bucket those that are given, if any (UsageError). One that is completed is taken as it is.
   */
  readonly uploadId?: string | undefined;
  /** Where the upload is remembered, so that another call with the same source and fingerprint goes on with it. */
  readonly resumeStore?: ResumeStore | undefined;
  /** Names the source in `resumeStore`. Default: made of server, key and what the source is. */
  readonly fingerprint?: string | undefined;
  /** Gives up what was remembered, and begins anew. */
  readonly restart?: boolean | undefined;
  readonly mode?: UploadMode | undefined;
  /** Parts at once, at the most; how many there are follows the line. 1 to 64; default 4. */
  readonly parallel?: number | undefined;
  /** All parts together. */
  readonly limitBytesPerSecond?: number | undefined;
  /** RFC 9530, `crc32=:…:`: what the whole must be. Known to differ: IntegrityError, and nothing is completed. */
  readonly digest?: string | undefined;
  /** TemporaryError when nothing got through for so long. Default 900,000. */
  readonly giveUpAfterMs?: number | undefined;
  /** Of a source that comes once, where its length is known: with another it is not completed. */
  readonly sizeBytes?: number | undefined;
  /** Of a source that comes once: what is held until it is known to be stored. Default 64 MiB. */
  readonly windowBytes?: number | undefined;
  /** Ends it with InterruptedError; the upload is kept. */
  readonly signal?: AbortSignal | undefined;
  readonly onEvent?: ((event: UploadEvent) => void) | undefined;
  /** At most eight times a second, and at the end. */
  readonly onProgress?: ((progress: UploadProgress) => void) | undefined;
}

/** What happens beside the bytes. */
export type UploadEvent =
  /** The upload is open. `resumedBytes` are stored already and not sent again. */
  | { readonly type: 'start'; readonly upload: UploadJson; readonly resumedBytes: number }
  /** How its bytes travel from here on, and why it is not as was asked. */
  | { readonly type: 'mode'; readonly mode: 'relay' | 'direct'; readonly reason?: string }
  | {
      readonly type: 'retry';
      readonly error: PartwayError;
      readonly delayMs: number;
      readonly partNumber?: number | undefined;
    }
  /** What was remembered is gone; it begins anew. */
  | { readonly type: 'restart'; readonly reason: string };

/** How far it is. Bytes. */
export interface UploadProgress {
  readonly phase: 'opening' | 'sending' | 'paused' | 'completing' | 'completed';
  /** Unknown of a source that tells no length. */
  readonly totalBytes: number | undefined;
  /** Durable, resumed ones included. */
  readonly storedBytes: number;
  /** Stored and on their way, for a bar that moves. Never more than the total. */
  readonly reachedBytes: number;
  readonly resumedBytes: number;
  /** All that went out in this call, repeated ones included. */
  readonly sentBytes: number;
  /** Of the last ten seconds; `undefined` until there is something to tell. */
  readonly bytesPerSecond: number | undefined;
  readonly remainingMs: number | undefined;
  readonly storedParts: number;
  readonly partCount: number | undefined;
  readonly requestsInFlight: number;
  readonly retries: number;
}

export interface UploadResult {
  /** As the gateway tells it: completed. */
  readonly upload: UploadJson;
  readonly resumedBytes: number;
  readonly sentBytes: number;
  readonly sizeBytes: number;
  /** RFC 9530; the CRC-32 of the whole, where every part of it was read in this call or is on record. */
  readonly digest: string | undefined;
  readonly mode: 'relay' | 'direct';
}

/** An upload under way. */
export interface UploadTask {
  /** The completed upload, or a PartwayError. */
  readonly finished: Promise<UploadResult>;
  readonly progress: UploadProgress;
  readonly uploadId: string | undefined;
  /** No new request begins; those under way end. */
  pause(): void;
  resume(): void;
  /** Gives the upload up; what is stored of it is deleted. `finished` rejects with AbortedError. */
  abort(): Promise<void>;
}
