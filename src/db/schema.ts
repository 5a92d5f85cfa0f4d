import type { DigestAlgorithm, Digests } from '../core/digest.ts';
import type { AbortReason, Protocol, UploadState } from '../core/upload.ts';
import {
  bigint,
  boolean,
  check,
  customType,
  index,
  integer,
  jsonb,
  pgTable,
  primaryKey,
  sql,
  text,
  timestamp,
  uniqueIndex,
} from './drizzle.ts';

/** Bytes: up to 48.8 TiB fits a JavaScript number. */
const bytes = (name: string) => bigint(name, { mode: 'number' });
const instant = (name: string) => timestamp(name, { withTimezone: true, mode: 'date' });
const binary = customType<{ data: Buffer; driverData: Buffer }>({ dataType: () => 'bytea' });

export const tenants = pgTable('tenants', {
  name: text().primaryKey(),
  keyPrefix: text('key_prefix').notNull(),
  createdAt: instant('created_at').notNull().defaultNow(),
});

export const apiKeys = pgTable(
  'api_keys',
  {
    id: text().primaryKey(),
    tenant: text()
      .notNull()
      .references(() => tenants.name),
    /** SHA-256 of the key. */
    keyHash: binary('key_hash').notNull(),
    name: text().notNull(),
    scopes: text().array().notNull(),
    bucket: text(),
    keyPrefix: text('key_prefix').notNull().default(''),
    createdAt: instant('created_at').notNull().defaultNow(),
    revokedAt: instant('revoked_at'),
  },
  (table) => [uniqueIndex('api_keys_hash').on(table.keyHash)],
);

export const uploads = pgTable(
  'uploads',
  {
    id: text().primaryKey(),
    tenant: text().notNull(),
    protocol: text().$type<Protocol>().notNull(),
    state: text().$type<UploadState>().notNull(),
    reason: text().$type<AbortReason>(),
    bucket: text().notNull(),
    key: text().notNull(),
    storeKey: text('store_key').notNull(),
    storeUploadId: text('store_upload_id'),
    token: text().notNull(),
    size: bytes('size'),
    /** Null: decided by the first write. */
    layout: text().$type<'planned' | 'free'>(),
    partSize: bytes('part_size'),
    growEvery: integer('grow_every'),
    maxPartSize: bytes('max_part_size'),
    offset: bytes('offset').notNull().default(0),
    contiguousParts: integer('contiguous_parts').notNull().default(0),
    receivedBytes: bytes('received_bytes').notNull().default(0),
    contentType: text('content_type'),
    metadata: jsonb().$type<Record<string, string>>().notNull().default({}),
    digestAlgorithm: text('digest_algorithm').$type<DigestAlgorithm>(),
    digestValue: text('digest_value'),
    ifNoneMatch: boolean('if_none_match').notNull().default(false),
    signed: boolean().notNull().default(false),
    /** Completes by itself once every byte is durable. */
    selfCompleting: boolean('self_completing').notNull().default(false),
    /** Bytes came that differ from those stored. */
    conflicted: boolean().notNull().default(false),
    /** The one request that may append. Another's commits are refused, however late it wakes. */
    writerId: text('writer_id'),
    writerUntil: instant('writer_until'),
    /** Until then this upload's client is on a line that breaks often: small fragments. */
    carefulUntil: instant('careful_until'),
    carefulFragmentSize: bytes('careful_fragment_size'),
    /** SHA-256 of a front's session secret, or of the session id that a client sent. */
    sessionHash: binary('session_hash'),
    /** Of an upload that is put together of others: their ids. */
    sources: text().array(),
    /** What a front must give back as it was sent. */
    front: jsonb().$type<Record<string, unknown>>().notNull().default({}),
    /** Saved state of the MD5 of bytes 0 to `digestOffset`. */
    digestState: text('digest_state'),
    digestOffset: bytes('digest_offset').notNull().default(0),
    idempotencyKey: text('idempotency_key'),
    idempotencyHash: text('idempotency_hash'),
    etag: text(),
    /** Who is completing or aborting, and until when it may. */
    claimId: text('claim_id'),
    claimUntil: instant('claim_until'),
    /** What a claim to complete assumes; becomes the upload's own only when it completes. */
    claimedSize: bytes('claimed_size'),
    claimedDigestAlgorithm: text('claimed_digest_algorithm').$type<DigestAlgorithm>(),
    claimedDigestValue: text('claimed_digest_value'),
    createdAt: instant('created_at').notNull().defaultNow(),
    updatedAt: instant('updated_at').notNull().defaultNow(),
    lastWriteAt: instant('last_write_at'),
    /** From then on the reaper composes covered slots, and completes what completes by itself. */
    workDue: instant('work_due'),
    completedAt: instant('completed_at'),
    /** Open: the end of its lifetime. Ended: when the row may go. */
    expiresAt: instant('expires_at').notNull(),
  },
  (table) => [
    uniqueIndex('uploads_idempotency').on(table.tenant, table.idempotencyKey),
    uniqueIndex('uploads_one_completing').on(table.bucket, table.storeKey).where(sql`${table.state} = 'completing'`),
    index('uploads_session').on(table.sessionHash),
    index('uploads_by_name').on(table.bucket, table.storeKey, table.createdAt),
    index('uploads_newest').on(table.tenant, table.createdAt, table.id),
    index('uploads_expiring').on(table.expiresAt),
    index('uploads_by_source').using('gin', table.sources).where(sql`${table.sources} is not null`),
    index('uploads_work').on(table.workDue).where(sql`${table.workDue} is not null`),
    index('uploads_claims').on(table.claimUntil).where(sql`${table.claimUntil} is not null`),
    check('uploads_offset_in_size', sql`${table.size} is null or ${table.offset} <= ${table.size}`),
  ],
);

/** Until then an upload does not complete by itself: whether its name means another file by now is being found out. */
export const completionHolds = pgTable('completion_holds', {
  uploadId: text('upload_id')
    .primaryKey()
    .references(() => uploads.id, { onDelete: 'cascade' }),
  until: instant('until').notNull(),
});

/** Offset, size, digests; the id of the fragment where it is one still. */
export type RunRow = readonly [offset: number, sizeBytes: number, digests: Digests, fragmentId?: string];

/** One row for each slot. Its lease and its durable part are apart: a new attempt leaves a good part as it is. */
export const parts = pgTable(
  'parts',
  {
    uploadId: text('upload_id')
      .notNull()
      .references(() => uploads.id, { onDelete: 'cascade' }),
    partNumber: integer('part_number').notNull(),
    offset: bytes('offset'),
    size: bytes('size'),
    /** Null: no durable part. */
    etag: text(),
    digests: jsonb().$type<Digests>().notNull().default({}),
    storedAt: instant('stored_at'),
    attemptId: text('attempt_id'),
    attemptUntil: instant('attempt_until'),
    /** When the attempt leased the slot. */
    attemptSince: instant('attempt_since'),
    /** Somebody asks the attempt to give the slot up. */
    attemptYields: boolean('attempt_yields').notNull().default(false),
    /** Where it was made of several runs: theirs, by which a repeat of one is compared. */
    runs: jsonb().$type<readonly RunRow[]>(),
    /** An attempt's fate at the store is unknown. */
    doubtful: boolean().notNull().default(false),
  },
  (table) => [
    primaryKey({ columns: [table.uploadId, table.partNumber] }),
    index('parts_by_offset').on(table.uploadId, table.offset).where(sql`${table.etag} is not null`),
  ],
);

/** Durable bytes smaller than a part, staged as an object of their own until a part is made of them. */
export const fragments = pgTable(
  'fragments',
  {
    id: text().primaryKey(),
    uploadId: text('upload_id')
      .notNull()
      .references(() => uploads.id, { onDelete: 'cascade' }),
    partNumber: integer('part_number').notNull(),
    offset: bytes('offset').notNull(),
    size: bytes('size').notNull(),
    state: text().$type<'expected' | 'pending' | 'durable' | 'retired'>().notNull(),
    stagingKey: text('staging_key').notNull(),
    digests: jsonb().$type<Digests>().notNull().default({}),
    attemptId: text('attempt_id').notNull(),
    /** Pending: the lease of the range. Expected: how long its row stays. Retired: when its object may be deleted. */
    leaseUntil: instant('lease_until'),
    createdAt: instant('created_at').notNull().defaultNow(),
  },
  (table) => [
    index('fragments_of_slot').on(table.uploadId, table.partNumber, table.offset),
    index('fragments_by_offset').on(table.uploadId, table.offset).where(sql`${table.state} = 'durable'`),
    // Who has a part of a slot is asked with every chunk, however many fragments the slot has.
    index('fragments_pending').on(table.uploadId, table.partNumber).where(sql`${table.state} = 'pending'`),
    index('fragments_to_sweep').on(table.leaseUntil).where(sql`${table.state} <> 'durable'`),
  ],
);
