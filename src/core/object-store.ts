import type { Readable } from 'node:stream';
import type { DigestAlgorithm } from './digest.ts';

/**
 * What a store's failure means for the caller.
 *
 * - `unavailable`: no answer, or one that leaves the outcome open (timeout, reset, 5xx). Whether the
 *   call did its work is unknown. Try again later.
 * - `full`: the store has no room (507). Not done.
 * - `no_such_upload`: the store does not know the multipart upload: completed, aborted, expired or never there.
 * - `no_such_object`: nothing is at the key. Not thrown by `headObject`, which returns `undefined`.
 * - `invalid_part`: Complete named a part that the store does not have, or not with that ETag.
 * - `part_too_small`: Complete found a part under the minimum that is not the last.
 * - `digest_mismatch`: the store verified a digest and the body differs. Nothing was replaced.
 * - `precondition_failed`: `If-None-Match` found an object.
 * - `range_not_satisfiable`: the range lies outside the object.
 * - `refused`: the store answered and will not do it (credentials, permissions, bucket, a bad request). Not done.
 */
export type StoreErrorKind =
  | 'unavailable'
  | 'full'
  | 'no_such_upload'
  | 'no_such_object'
  | 'invalid_part'
  | 'part_too_small'
  | 'digest_mismatch'
  | 'precondition_failed'
  | 'range_not_satisfiable'
  | 'refused';

/** The one error that an ObjectStore throws, besides the abort reason of a signal. */
export class StoreError extends Error {
  override readonly name = 'StoreError';
  readonly kind: StoreErrorKind;

  /** @param message for the log: may name what the store said, never a secret or a signed URL */
  constructor(kind: StoreErrorKind, message: string, options: { cause?: unknown } = {}) {
    super(message, options);
    this.kind = kind;
  }
}

/** What a store is sent: a stream, which is read once, or bytes in memory. */
export type StoreBody = Readable | Buffer | readonly Buffer[];

/** Bounds of a store. Bytes. S3: "Amazon S3 multipart upload limits". */
export interface StoreLimits {
  readonly minPartSizeBytes: number;
  readonly maxPartSizeBytes: number;
  readonly maxParts: number;
  readonly maxObjectSizeBytes: number;
  /** The store wants all parts but the last of one size (Cloudflare R2). */
  readonly equalParts: boolean;
}

/** What a signed URL can bind its body to, base64. */
export interface Pin {
  readonly algorithm: 'crc32' | 'md5';
  readonly value: string;
}

export interface StoreCapabilities {
  /** Digests that the store verifies before it replaces a part; the gateway verifies the others itself. */
  readonly verifies: ReadonlySet<DigestAlgorithm>;
  /** Can sign URLs, so that clients send parts straight to it. */
  readonly presigns: boolean;
  /** The ETag of an unencrypted part is the MD5 of its content. */
  readonly etagIsMd5: boolean;
}

/** An object's place. `key` is the full key at the store. */
export interface ObjectAddress {
  readonly bucket: string;
  readonly key: string;
}

export interface MultipartAddress extends ObjectAddress {
  readonly storeUploadId: string;
}

export interface StoredPart {
  readonly partNumber: number;
  readonly etag: string;
  readonly sizeBytes: number;
}

export interface ObjectFacts {
  readonly sizeBytes: number;
  readonly etag: string;
  readonly contentType: string | undefined;
  readonly metadata: Readonly<Record<string, string>>;
  readonly lastModified: Date | undefined;
}

/** First and last byte, both included, as in RFC 9110 section 14.1.2. */
export interface ByteRange {
  readonly first: number;
  readonly last: number;
}

export interface CallOptions {
  /** Aborts the call; the returned promise rejects with the signal's reason or a StoreError. */
  readonly signal?: AbortSignal;
}

/**
 * An S3-like object store. Adapters do not retry what is not safe to repeat, keep no state that another
 * process would need, and throw StoreError alone. One contract suite runs against all of them.
 */
export interface ObjectStore {
  readonly limits: StoreLimits;
  readonly capabilities: StoreCapabilities;
  /** One line for people: kind, endpoint and bucket, without secrets. */
  readonly description: string;

  /**
   * How long the store keeps an unfinished multipart upload, in milliseconds from its creation, as far
   * as it has told so far; `undefined` when it is not known to drop them.
   */
  keepsUnfinishedMs(): number | undefined;

  /** Resolves when the store answers and the bucket is there. */
  check(bucket: string, options?: CallOptions): Promise<void>;

  /** Not repeated by the adapter: each call may leave a multipart upload of its own. */
  createMultipartUpload(
    input: ObjectAddress & {
      readonly contentType?: string | undefined;
      readonly metadata: Readonly<Record<string, string>>;
    },
    options?: CallOptions,
  ): Promise<{ storeUploadId: string }>;

  /**
   * Stores one whole part; replaces an earlier one of that number only once the new one is whole.
   * A stream is read once and never retried, and it is destroyed when the call fails. A body that
   * ends early, errors or is destroyed leaves what was stored before untouched.
   * @param input.contentMd5 base64; only where `capabilities.verifies` has `md5`
   */
  uploadPart(
    input: MultipartAddress & {
      readonly partNumber: number;
      readonly body: StoreBody;
      readonly sizeBytes: number;
      readonly contentMd5?: string | undefined;
    },
    options?: CallOptions,
  ): Promise<{ etag: string }>;

  /**
   * Makes a part of a range of an object that is already at the store (S3 UploadPartCopy).
   * @param input.source.range only of an object above 5 MiB: AWS copies smaller ones whole or not at all
   * @param input.source.etag another object at the key counts as none, where the store compares it (RGW does not)
   */
  copyPart(
    input: MultipartAddress & {
      readonly partNumber: number;
      readonly source: ObjectAddress & { readonly range?: ByteRange | undefined; readonly etag?: string | undefined };
    },
    options?: CallOptions,
  ): Promise<{ etag: string }>;

  /**
   * All stored parts in ascending order, all pages. `no_such_upload` when the store has dropped or ended it.
   * @param input.after only those with a higher number; one that is stored itself: MinIO lists nothing behind any other
   */
  listParts(input: MultipartAddress & { readonly after?: number }, options?: CallOptions): AsyncIterable<StoredPart>;

  /**
   * Makes the object from exactly these parts. One attempt, never repeated by the adapter. Resolves only
   * on an answer that says success; `etag` is empty where the store gave none (RGW 16).
   * A second call after success may succeed or throw `no_such_upload`: stores differ.
   */
  completeMultipartUpload(
    input: MultipartAddress & {
      readonly parts: readonly { readonly partNumber: number; readonly etag: string }[];
      readonly ifNoneMatch?: boolean;
    },
    options?: CallOptions,
  ): Promise<{ etag: string }>;

  /** Drops the multipart upload and its parts. Succeeds when the store does not know it. */
  abortMultipartUpload(input: MultipartAddress, options?: CallOptions): Promise<void>;

  /** Unfinished multipart uploads of exactly this key (MinIO matches nothing else). */
  listMultipartUploads(
    input: ObjectAddress,
    options?: CallOptions,
  ): AsyncIterable<{ storeUploadId: string; initiatedAt: Date | undefined }>;

  putObject(
    input: ObjectAddress & {
      readonly body: StoreBody;
      readonly sizeBytes: number;
      readonly contentType?: string | undefined;
      readonly metadata?: Readonly<Record<string, string>>;
    },
    options?: CallOptions,
  ): Promise<{ etag: string }>;

  /** The object's facts and content, or the range of it. The caller reads `body` to its end or destroys it. */
  getObject(
    input: ObjectAddress & { readonly range?: ByteRange | undefined },
    options?: CallOptions,
  ): Promise<ObjectFacts & { body: Readable }>;

  headObject(input: ObjectAddress, options?: CallOptions): Promise<ObjectFacts | undefined>;

  /**
   * Deletes one object, but none that has another ETag, on a store that looks: S3 and Ceph RGW do, MinIO does not. One that
   * is not there counts as deleted.
   * @throws StoreError `precondition_failed`, …
   */
  deleteObject(input: ObjectAddress & { readonly etag: string }, options?: CallOptions): Promise<void>;

  /** Deletes many; keys that are not there count as deleted. */
  deleteObjects(input: { bucket: string; keys: readonly string[] }, options?: CallOptions): Promise<void>;

  /** Objects whose key begins with the prefix, in the order of their keys, all pages. */
  listObjects(
    input: { bucket: string; prefix: string },
    options?: CallOptions,
  ): AsyncIterable<{ key: string; sizeBytes: number; lastModified: Date | undefined }>;

  /** The cheapest digest by which a signed URL can pin its body, as far as the store has told so far. */
  pinsBy(): Pin['algorithm'];

  /**
   * A URL by which its holder may PUT this part, until it expires. Only where `capabilities.presigns`.
   * @param input.sizeBytes pins the body's length
   * @param input.pin the store refuses any other body: by an MD5 always, by a CRC-32 only where `pinsBy` says so
   */
  presignUploadPart(
    input: MultipartAddress & {
      readonly partNumber: number;
      readonly sizeBytes?: number | undefined;
      readonly pin?: Pin | undefined;
      readonly expiresInSeconds: number;
    },
  ): Promise<{ url: string; headers: Readonly<Record<string, string>> }>;

  /** Waits for nothing; frees sockets. */
  close(): Promise<void>;
}
