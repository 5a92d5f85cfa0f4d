import type { Readable } from 'node:stream';
import type { DigestAlgorithm } from './digest.ts';
import type { Layout } from './layout.ts';
import type { NameRecords } from './name-records.ts';
import type { RangeRecords } from './range-records.ts';
import type { AbortReason, Part, Protocol, Upload, UploadState } from './upload.ts';

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

export interface NewUpload {
  readonly id: string;
  readonly tenant: string;
  readonly protocol: Protocol;
  readonly bucket: string;
  readonly key: string;
  readonly storeKey: string;
  readonly token: string;
  readonly sizeBytes: number | undefined;
  readonly layout: Layout;
  readonly contentType: string | undefined;
  readonly metadata: Readonly<Record<string, string>>;
  readonly digest: Upload['digest'];
  readonly ifNoneMatch: boolean;
  readonly isSelfCompleting: boolean;
  readonly sessionHash: Buffer | undefined;
  readonly front: Upload['front'];
  readonly sources: Upload['sources'];
  readonly idempotency: { readonly key: string; readonly requestHash: string } | undefined;
  readonly lifetimeMs: number;
  /** How long the creation may take before the reaper looks at it. */
  readonly leaseMs: number;
}

/** A part that went straight to the store, to take the place of the one that was on record when the store was asked. */
export type AdoptedPart = Part & { readonly replacesEtag: string | undefined };

export interface AttemptAddress {
  readonly uploadId: string;
  readonly partNumber: number;
  /** Random; names one request's try at one part. */
  readonly attemptId: string;
}

/** What all processes hear: an attempt is to yield, a writer is to make a checkpoint, a writer has made it. */
export interface AttemptNews {
  readonly kind: 'yield' | 'checkpoint' | 'reached';
  readonly id: string;
}

/** Where a page of uploads ended: the last row's creation time in microseconds, and its id. */
export interface ListCursor {
  readonly createdAtMicros: number;
  readonly id: string;
}

export interface UploadFilter {
  readonly tenant: string;
  readonly state?: UploadState | undefined;
  readonly bucket?: string | undefined;
  readonly keyPrefix?: string | undefined;
  /** What the caller may see at all, besides `keyPrefix` and `bucket`. */
  readonly grantedBucket?: string | undefined;
  readonly grantedKeyPrefix?: string | undefined;
}

/** What a try to claim an upload for completion found. */
export type CompletionClaim =
  /** Bytes of a slot are durable, but not yet a part. */
  | { readonly kind: 'uncomposed'; readonly upload: Upload }
  | { readonly kind: 'claimed'; readonly upload: Upload; readonly doubtful: boolean }
  /** Bytes are missing, or the size differs from what the caller expects. */
  | { readonly kind: 'incomplete'; readonly upload: Upload }
  /** Bytes came that differ from those stored: it completes only when it is asked to. */
  | { readonly kind: 'disputed'; readonly upload: Upload }
  /** A part is under way, another upload to the same key is completing, or it may not complete by itself just now. */
  | { readonly kind: 'busy'; readonly upload: Upload }
  | { readonly kind: 'not_open'; readonly upload: Upload };

/**
 * The records of uploads and parts. Every method is one short transaction; none is held while bytes
 * flow or the store is called. Leases run on the database's clock. A method throws UploadError
 * `records_unavailable` when the database cannot be reached; what it did is then unknown, and the row tells.
 */
export interface UploadRecords extends RangeRecords, NameRecords {
  /** Resolves when the database answers. */
  check(): Promise<void>;

  /**
   * Writes the row in state `creating`, unless the tenant's idempotency key is known.
   * `existing` carries the earlier row; the caller compares `requestHash`.
   */
  insert(
    upload: NewUpload,
  ): Promise<
    | { readonly kind: 'inserted'; readonly upload: Upload }
    | { readonly kind: 'existing'; readonly upload: Upload; readonly requestHash: string }
  >;

  /** `creating → open`. `undefined` when the row is no longer `creating`. */
  open(input: {
    readonly id: string;
    readonly storeUploadId: string;
    /** The longest that the store keeps it, from now. */
    readonly keepsMs: number | undefined;
  }): Promise<Upload | undefined>;

  /** `creating → aborted (not_created)`, and the idempotency key is free again. */
  closeUncreated(id: string): Promise<void>;

  find(tenant: string, id: string): Promise<Upload | undefined>;
  list(
    filter: UploadFilter,
    page: { readonly after?: ListCursor | undefined; readonly limit: number },
  ): Promise<{ readonly uploads: readonly Upload[]; readonly next: ListCursor | undefined }>;

  /** Durable parts with a number above `after`, ascending. */
  listParts(uploadId: string, page: { readonly after: number; readonly limit: number }): Promise<readonly Part[]>;

  /**
   * Leases the slot for one attempt. One round trip: it also tells the upload, and the durable part that the slot
   * may have. An attempt whose lease ran out is replaced, and the part is doubtful from then on.
   * `occupied`: a live attempt has the slot.
   */
  beginAttempt(input: AttemptAddress & { readonly tenant: string; readonly leaseMs: number }): Promise<
    | { readonly kind: 'begun'; readonly upload: Upload; readonly part: Part | undefined }
    | {
        readonly kind: 'occupied';
        readonly upload: Upload;
        readonly part: Part | undefined;
        readonly attemptId: string;
        readonly retryAfterMs: number;
      }
    | { readonly kind: 'not_open'; readonly upload: Upload }
    | { readonly kind: 'not_found' }
  >;
  /** Ends what processes that are gone have leased of an upload: it need not run out first. Whether there was anything. */
  endDeadLeases(uploadId: string): Promise<boolean>;
  /** Asks an attempt, wherever it runs, to give its slot up. It does unless its last byte is on its way. */
  askToYield(attempt: AttemptAddress): Promise<void>;
  /** Extends the lease. `yield`: asked to give up. `lost`: replaced, or the upload is no longer open: stop. */
  renewAttempt(input: AttemptAddress & { readonly leaseMs: number }): Promise<'held' | 'yield' | 'lost'>;
  /**
   * Ends an attempt that stored nothing; with `uncertain` one whose fate at the store is unknown: the upload
   * then compares the store's list before it completes.
   */
  dropAttempt(input: AttemptAddress & { readonly uncertain: boolean }): Promise<void>;
  /** Calls back with what attempts and writers are asked and have done, as far as the news arrive: hints. */
  onNews(listener: (news: AttemptNews) => void): void;

  /**
   * Records the part, ends its attempt and moves the upload's counters, in one transaction and one round trip.
   * `size_conflict`: it reaches beyond the upload's size; or with an unknown size it would be the last part, but
   * later ones are durable.
   */
  commitPart(input: {
    readonly uploadId: string;
    readonly attemptId: string;
    readonly part: Part;
    /** The part is shorter than its slot and fixes the upload's size to its end. */
    readonly fixesSize: boolean;
  }): Promise<
    | { readonly kind: 'committed'; readonly offset: number }
    | { readonly kind: 'displaced' | 'size_conflict' | 'not_open' }
  >;
  /**
   * Records parts that were sent straight to the store and that its own list shows: all of them or none.
   * `size_conflict`: they reach beyond the upload's size, or later parts beyond `fixesSizeBytes` are durable.
   * `busy`: a live attempt has the slot of one of them.
   * @param input.fixesSizeBytes the upload's size, where the last of them is shorter than its slot
   */
  adoptParts(input: {
    readonly uploadId: string;
    readonly parts: readonly AdoptedPart[];
    readonly fixesSizeBytes?: number | undefined;
  }): Promise<
    { readonly kind: 'adopted'; readonly upload: Upload } | { readonly kind: 'size_conflict' | 'not_open' | 'busy' }
  >;
  /** Signed URLs are about to be given out. `false`: no longer open. */
  markSigned(uploadId: string): Promise<boolean>;

  /**
   * `open → completing`, if every byte is durable and no attempt is live; live ones are asked to yield. With an unknown
   * size the contiguous bytes become the size. At most one upload for each (bucket, key) is `completing`.
   * @param input.sizeBytes what the caller expects; without it an upload of unknown size needs at least one part
   */
  claimCompletion(input: {
    readonly id: string;
    readonly claimId: string;
    readonly leaseMs: number;
    readonly sizeBytes?: number | undefined;
    /** To be checked by whoever holds the claim, also after this owner dies. */
    readonly digest?: Upload['digest'];
    /** Nobody has asked for it. */
    readonly byItself?: boolean | undefined;
  }): Promise<CompletionClaim>;
  /** `open → aborting`, for a reason; or joins an `aborting` whose lease ran out. */
  claimAbort(input: {
    readonly id: string;
    readonly claimId: string;
    readonly leaseMs: number;
    readonly reason: AbortReason;
    /** Only where nothing was written since, nor sent again: else it is `busy`. */
    readonly ifLastWriteAt?: Date | undefined;
  }): Promise<{ readonly kind: 'claimed' | 'busy' | 'not_open'; readonly upload: Upload | undefined }>;
  /** Takes over a `completing` or `aborting` whose lease ran out. */
  takeClaim(input: {
    readonly id: string;
    readonly claimId: string;
    readonly leaseMs: number;
  }): Promise<Upload | undefined>;
  /** `false`: somebody else has it now. */
  renewClaim(input: { readonly id: string; readonly claimId: string; readonly leaseMs: number }): Promise<boolean>;
  /** Lets the claim's lease run out at once, so that the next caller or the reaper goes on. */
  releaseClaim(input: { readonly id: string; readonly claimId: string }): Promise<void>;

  /** `completing → completed`. `undefined`: the claim is no longer this one's. */
  finishCompletion(input: {
    readonly id: string;
    readonly claimId: string;
    readonly etag: string;
    readonly retentionMs: number;
    /** Its object is the gateway's own, and deleted when the retention is over. */
    readonly isStaged: boolean;
  }): Promise<Upload | undefined>;
  /** `completed → deleted`: its object is gone. */
  markDeleted(input: { readonly id: string; readonly retentionMs: number }): Promise<void>;
  /**
   * `completing → open`: the store refused. In the same transaction takes the parts out of the record that the
   * store does not have so, and moves the counters back. `undefined`: the claim is no longer this one's.
   */
  reopen(input: {
    readonly id: string;
    readonly claimId: string;
    readonly forget?: readonly number[];
  }): Promise<Upload | undefined>;
  /** `aborting → aborted`, or `completing → aborted (lost)`. */
  finishAbort(input: {
    readonly id: string;
    readonly claimId: string;
    readonly retentionMs: number;
    readonly reason?: AbortReason;
  }): Promise<Upload | undefined>;

  /**
   * Uploads that need the reaper, leased to it: claims that ran out, open ones past their time, creations that
   * never came to an end. Rows that another reaper has locked are passed over.
   */
  claimDue(input: {
    readonly claimId: string;
    readonly leaseMs: number;
    readonly limit: number;
  }): Promise<readonly { readonly work: 'complete' | 'abort' | 'close_uncreated'; readonly upload: Upload }[]>;
  /** Deletes ended rows whose retention is over; returns how many. */
  deleteOutdated(limit: number): Promise<number>;
}

export interface Clock {
  now(): Date;
  /** Resolves after that time, or rejects with the signal's reason. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
  /** Calls `work` again and again until the returned function is called. Does not keep the process alive. */
  every(ms: number, work: () => void): () => void;
}

/** What the core tells about its work, for logs and metrics. */
export interface Events {
  emit(event: UploadEvent): void;
}

export type UploadEvent =
  | { readonly type: 'upload_created'; readonly upload: Upload }
  | { readonly type: 'upload_completed'; readonly upload: Upload }
  | { readonly type: 'upload_aborted'; readonly upload: Upload }
  | { readonly type: 'part_stored'; readonly uploadId: string; readonly partNumber: number; readonly sizeBytes: number }
  | { readonly type: 'store_failed'; readonly call: string; readonly uploadId: string; readonly error: StoreError }
  | {
      readonly type: 'fragment_stored';
      readonly uploadId: string;
      readonly offset: number;
      readonly sizeBytes: number;
    }
  | { readonly type: 'part_differs'; readonly uploadId: string; readonly partNumber: number };
