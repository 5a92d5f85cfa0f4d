import type { Digests } from './digest.ts';
import type { PlannedLayout, Slot } from './layout.ts';
import type { Fragment, Part, Run, Upload } from './upload.ts';

/** The saved hash state of the bytes from zero to `endsAt`, to be put on the upload with a commit. */
export interface DigestChainState {
  readonly endsAt: number;
  readonly state: string;
}

/** A range of one slot that a request wants to write. Offsets are bytes; `to` is not included. */
export interface WantedRange {
  readonly uploadId: string;
  readonly tenant: string;
  /** The whole slot, as the layout has it; cut at the upload's size by the records. */
  readonly slot: Slot;
  /** The layout's first part size: by it the records tell that the layout is another. */
  readonly basePartSizeBytes: number;
  readonly from: number;
  readonly to: number;
  /** Random; names this try. */
  readonly attemptId: string;
  readonly leaseMs: number;
  /** The size of the whole, as the client tells; becomes the upload's where that was unknown. */
  readonly totalBytes?: number | undefined;
  /** The one request that may append to this upload; a range writer has none. */
  readonly writerId?: string | undefined;
}

/** `holder`: the attempt or writer that is in the way. */
export type RangeRefusal =
  | {
      readonly kind: 'occupied';
      readonly upload: Upload;
      readonly holder: { readonly id: string; readonly isWriter: boolean; readonly partNumber: number };
      readonly retryAfterMs: number;
    }
  /** The total differs from the upload's size, or durable bytes lie beyond it, or the range does. */
  | { readonly kind: 'size_conflict'; readonly upload: Upload }
  /** The layout was decided meanwhile, and differs from the one that the slot was taken from. */
  | { readonly kind: 'other_layout'; readonly upload: Upload }
  /** An append writer would leave a hole. */
  | { readonly kind: 'gap'; readonly upload: Upload }
  | { readonly kind: 'not_open'; readonly upload: Upload }
  | { readonly kind: 'not_found' };

/** A range of one slot, and the name of the fragment that may come for it. */
export interface NextFragment {
  readonly partNumber: number;
  readonly from: number;
  readonly to: number;
  readonly fragmentId: string;
  readonly stagingKey: string;
  /** Random; names this try. */
  readonly attemptId: string;
}

export type BegunFragment =
  | RangeRefusal
  | {
      readonly kind: 'begun';
      readonly upload: Upload;
      /** Durable bytes of the slot, in order. */
      readonly runs: readonly Run[];
      /** The first gap of the wanted range, leased; `undefined` where all of it is durable. */
      readonly gap: { readonly from: number; readonly to: number } | undefined;
    };

export type BegunPart =
  | RangeRefusal
  | { readonly kind: 'begun'; readonly upload: Upload }
  /** Part of the slot is durable already, or the range is not the whole slot: nothing is leased. */
  | { readonly kind: 'not_whole'; readonly upload: Upload };

/** A slot whose bytes are all durable as fragments, leased to whoever composes them into its part. */
export interface CoveredSlot {
  readonly partNumber: number;
  readonly attemptId: string;
  readonly fragments: readonly Fragment[];
}

export type CommittedFragment =
  | {
      readonly kind: 'committed';
      readonly upload: Upload;
      /** Set for exactly one of the commits that cover a slot. */
      readonly covered: CoveredSlot | undefined;
      /** `next` is on record. */
      readonly isNextExpected: boolean;
    }
  | { readonly kind: 'displaced' | 'size_conflict' | 'not_open' };

/**
 * The records of ranges: bytes at any offset of an upload in the planned layout. Durable runs of one upload never
 * overlap. What leases or commits is one round trip, and one upload's come one after the other.
 */
export interface RangeRecords {
  /** Writes the layout where none is decided; returns the upload with the one that holds. */
  decideLayout(uploadId: string, layout: PlannedLayout): Promise<Upload | undefined>;
  /** Writes the digest of the whole where none is declared; returns the upload with the one that holds. */
  declareDigest(uploadId: string, digest: NonNullable<Upload['digest']>): Promise<Upload | undefined>;
  /** Somebody has sent again what is stored. `false`: the upload is no longer open. */
  touch(uploadId: string): Promise<boolean>;
  /** The MD5 that was carried along is no longer that of what is stored, and is carried on by nobody. */
  dropDigestChain(uploadId: string): Promise<void>;

  /** Leases the first gap of the range for a fragment, whose row it writes as `pending`. */
  beginFragment(
    input: WantedRange & { readonly fragmentId: string; readonly stagingKey: string },
  ): Promise<BegunFragment>;
  /** Leases the slot for a part, if the range is the whole slot and nothing of it is durable. */
  beginRangePart(input: WantedRange): Promise<BegunPart>;
  /** Extends a fragment's lease. `false`: another has it, or the upload is no longer open. */
  renewFragment(input: {
    readonly fragmentId: string;
    readonly attemptId: string;
    readonly leaseMs: number;
  }): Promise<boolean>;
  /**
   * `pending → durable`, for the bytes that came: as many as were leased, or fewer. Moves the counters. Where this
   * covers the slot it is leased to `composeAttemptId`, for which the answer tells the fragments.
   */
  commitFragment(input: {
    readonly uploadId: string;
    readonly fragmentId: string;
    readonly attemptId: string;
    readonly sizeBytes: number;
    readonly digests: Digests;
    readonly slot: Slot;
    readonly composeAttemptId: string;
    readonly leaseMs: number;
    readonly writerId?: string | undefined;
    /** It is the writer's last commit: its term ends with it. */
    readonly endsWriter?: boolean;
    readonly chain?: DigestChainState | undefined;
    /**
     * Goes on record in the same transaction, where nothing of it is durable or under way, for a fragment that is
     * committed without a lease: `displaced` if somebody else has leased or stored some of the range by then.
     */
    readonly next?: NextFragment | undefined;
  }): Promise<CommittedFragment>;
  /** Takes the row of a fragment back of which nothing was sent to the store. */
  withdrawFragment(input: { readonly fragmentId: string; readonly attemptId: string }): Promise<void>;
  /** Closes the row of a fragment that will not be committed; its object is the reaper's. */
  dropFragment(input: { readonly fragmentId: string; readonly attemptId: string }): Promise<void>;
  /**
   * Records the part of a slot that was leased by `beginRangePart` or by the commit that covered it, and retires the
   * slot's fragments.
   */
  commitRangePart(input: {
    readonly uploadId: string;
    readonly attemptId: string;
    readonly part: Part;
    /** Where there are several: what a repeat of each is compared by. */
    readonly runs?: readonly Run[] | undefined;
    readonly writerId?: string | undefined;
    /** It is the writer's last commit: its term ends with it. */
    readonly endsWriter?: boolean;
    readonly chain?: DigestChainState | undefined;
  }): Promise<
    | { readonly kind: 'committed'; readonly upload: Upload }
    | { readonly kind: 'displaced' | 'size_conflict' | 'not_open' }
  >;

  /** Ends an append writer's term, if it is still its own: from here on it commits nothing. */
  endWriter(input: { readonly uploadId: string; readonly writerId: string }): Promise<void>;
  /** Extends an append writer's term, if it is still its own. */
  renewWriter(input: { readonly uploadId: string; readonly writerId: string; readonly leaseMs: number }): Promise<void>;
  /** Asks an append writer, wherever it runs, to commit what it holds and stop. */
  askWriterToYield(writerId: string): Promise<void>;

  /**
   * Asks an append writer, wherever it runs, to make durable what it holds and go on.
   * @returns false where its process is gone
   */
  askWriterToCheckpoint(writerId: string): Promise<boolean>;
  /** Tells those who asked that it has. */
  tellCheckpoint(writerId: string): Promise<void>;

  /** The size of the whole, told without bytes. `size_conflict` where durable bytes lie beyond it or it is another. */
  tellSize(
    uploadId: string,
    sizeBytes: number,
  ): Promise<{ readonly kind: 'told' | 'size_conflict' | 'not_open'; readonly upload: Upload | undefined }>;
  /** Slots whose bytes are all durable as fragments and that nobody composes, leased to the caller one by one. */
  claimCovered(input: {
    readonly upload: Upload;
    readonly attemptId: string;
    readonly leaseMs: number;
    /** Cuts a slot number's place out of the layout. */
    readonly slotOf: (partNumber: number) => Slot | undefined;
  }): Promise<CoveredSlot | undefined>;
  /** Durable runs from an offset on, in order: of parts and of fragments. */
  listRuns(uploadId: string, range: { readonly from: number; readonly limit: number }): Promise<readonly Run[]>;
  /**
   * The gaps between durable bytes behind an offset, the first of them, in order.
   * @param range.from where durable bytes end
   * @returns also where the last durable byte ends, or `from`
   */
  listGaps(
    uploadId: string,
    range: { readonly from: number; readonly limit: number },
  ): Promise<{ readonly gaps: readonly { readonly from: number; readonly to: number }[]; readonly reach: number }>;

  /** It completes by itself no longer. */
  markConflicted(uploadId: string): Promise<void>;
  /** The client's line breaks: for a while only fragments of this size are stored. */
  markCareful(input: {
    readonly uploadId: string;
    readonly fragmentBytes: number;
    readonly forMs: number;
  }): Promise<void>;

  /** Deletes the rows of retired fragments whose objects are gone. */
  forgetFragments(ids: readonly string[]): Promise<void>;
  /** Retires fragments that never became durable and whose lease ran out. What their owners sent may land still. @returns how many */
  retireAbandoned(limit: number): Promise<number>;
  /** Retired fragments whose objects are to be deleted, leased to the caller. */
  claimRetired(input: {
    readonly leaseMs: number;
    readonly limit: number;
  }): Promise<readonly { readonly id: string; readonly stagingKey: string; readonly bucket: string }[]>;
  /** Open uploads that may have covered slots, or all bytes, and nobody who goes on with them. */
  claimWork(input: { readonly leaseMs: number; readonly limit: number }): Promise<readonly Upload[]>;
  /** Somebody is at work on it: `claimWork` passes it over for so long. */
  postponeWork(input: { readonly uploadId: string; readonly forMs: number }): Promise<void>;
  /**
   * Nothing is left to do for the upload until one of its sources ends: from then on it is `claimWork`'s. Where one has
   * ended already, or all have, it is so at once.
   */
  awaitSources(uploadId: string): Promise<void>;
  /** Nothing is left to do for the upload as it was seen. */
  endWork(upload: Upload): Promise<void>;
}
