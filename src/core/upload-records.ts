import type { Layout } from './layout.ts';
import type { NameRecords } from './name-records.ts';
import type { RangeRecords } from './range-records.ts';
import type { AbortReason, Part, Protocol, Upload, UploadState } from './upload.ts';

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
  /** The same, if it has leased its slot or range for longer than that. */
  askOlderToYield(attempt: AttemptAddress & { readonly ageMs: number }): Promise<void>;
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
