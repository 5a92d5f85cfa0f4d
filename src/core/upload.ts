import type { DigestAlgorithm, Digests } from './digest.ts';
import type { Layout } from './layout.ts';

/** Which of them follow one another stands in ARCHITECTURE.md. Every change is a compare-and-set on the row. */
export const uploadStates = ['creating', 'open', 'completing', 'completed', 'aborting', 'aborted', 'deleted'] as const;
export type UploadState = (typeof uploadStates)[number];

/** Why an upload ended without an object. */
export const abortReasons = ['requested', 'superseded', 'expired', 'lost', 'not_created', 'not_joined'] as const;
export type AbortReason = (typeof abortReasons)[number];

/** The front that opened an upload. */
export const protocols = ['rest', 'content-range', 'google', 'tus', 'ietf'] as const;
export type Protocol = (typeof protocols)[number];

/** One object on its way into one bucket. Sizes and offsets are bytes. */
export interface Upload {
  readonly id: string;
  readonly tenant: string;
  readonly protocol: Protocol;
  readonly state: UploadState;
  readonly reason: AbortReason | undefined;
  readonly bucket: string;
  /** The key as the client named it, without its tenant's prefix. */
  readonly key: string;
  /** The key at the store: the tenant's prefix and `key`. */
  readonly storeKey: string;
  /** The store's own multipart upload ID; absent while `creating`. */
  readonly storeUploadId: string | undefined;
  /** Random, kept in the object's metadata: proves that an object was made by this very upload. */
  readonly token: string;
  readonly sizeBytes: number | undefined;
  readonly layout: Layout;
  /** The end of the durable bytes that run from zero without a gap. */
  readonly offset: number;
  /** Parts 1 to this number are durable; the part that follows is not. */
  readonly contiguousParts: number;
  readonly receivedBytes: number;
  readonly contentType: string | undefined;
  readonly metadata: Readonly<Record<string, string>>;
  /** The digest declared for the whole object. */
  readonly digest: { readonly algorithm: DigestAlgorithm; readonly value: string } | undefined;
  /** Complete only if nothing is at the key (`If-None-Match: *`). */
  readonly ifNoneMatch: boolean;
  /** Signed URLs were given out: parts may have changed at the store without our knowing. */
  readonly signed: boolean;
  /** Completes by itself once every byte is durable: its front has no call for that. */
  readonly isSelfCompleting: boolean;
  /** Bytes came that differ from those stored: it completes no longer by itself. */
  readonly isConflicted: boolean;
  /** The size of the fragments that a client on a line that breaks often gets through, while that is known. */
  readonly carefulFragmentBytes: number | undefined;
  /** The uploads of whose objects it is put together, in their order. */
  readonly sources: readonly string[] | undefined;
  /** What its front must give back as it was sent. */
  readonly front: Readonly<Record<string, unknown>>;
  /** The MD5 of bytes 0 to `endsAt`, carried along as a saved hash state (base64). */
  readonly digestChain: { readonly endsAt: number; readonly state: string } | undefined;
  /** The append writer that was at work last, if it has not ended. */
  readonly writerId: string | undefined;
  readonly lastWriteAt: Date | undefined;
  readonly etag: string | undefined;
  readonly createdAt: Date;
  readonly updatedAt: Date;
  readonly expiresAt: Date;
  readonly completedAt: Date | undefined;
}

/** Durable bytes that came together, and the digests by which a repeat of them is compared. */
export interface Run {
  readonly offset: number;
  readonly sizeBytes: number;
  readonly digests: Digests;
  /** Where it is a fragment still. */
  readonly fragmentId?: string | undefined;
}

/** Durable bytes smaller than a part, an object of their own until a part is made of them. */
export interface Fragment extends Run {
  readonly id: string;
  readonly partNumber: number;
  /** Its key at the store, in the upload's bucket. */
  readonly stagingKey: string;
}

/** One durable part of an upload's multipart upload. */
export interface Part {
  readonly partNumber: number;
  /** Absent in the free layout where the client did not say. */
  readonly offset: number | undefined;
  readonly sizeBytes: number;
  /** As the store quoted it. */
  readonly etag: string;
  /** Digests of the part's content that are known, base64 by algorithm. */
  readonly digests: Digests;
  /** An attempt of unknown fate may have replaced it at the store. */
  readonly isDoubtful?: true;
}
