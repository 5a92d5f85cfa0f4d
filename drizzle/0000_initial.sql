CREATE TABLE "api_keys" (
	"id" text PRIMARY KEY NOT NULL,
	"tenant" text NOT NULL,
	"key_hash" "bytea" NOT NULL,
	"name" text NOT NULL,
	"scopes" text[] NOT NULL,
	"bucket" text,
	"key_prefix" text DEFAULT '' NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"revoked_at" timestamp with time zone
);
--> statement-breakpoint
CREATE TABLE "fragments" (
	"id" text PRIMARY KEY NOT NULL,
	"upload_id" text NOT NULL,
	"part_number" integer NOT NULL,
	"offset" bigint NOT NULL,
	"size" bigint NOT NULL,
	"state" text NOT NULL,
	"staging_key" text NOT NULL,
	"digests" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"attempt_id" text NOT NULL,
	"lease_until" timestamp with time zone,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL
);
--> statement-breakpoint
CREATE TABLE "parts" (
	"upload_id" text NOT NULL,
	"part_number" integer NOT NULL,
	"offset" bigint,
	"size" bigint,
	"etag" text,
	"digests" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"stored_at" timestamp with time zone,
	"attempt_id" text,
	"attempt_until" timestamp with time zone,
	"attempt_yields" boolean DEFAULT false NOT NULL,
	"runs" jsonb,
	"doubtful" boolean DEFAULT false NOT NULL,
	CONSTRAINT "parts_upload_id_part_number_pk" PRIMARY KEY("upload_id","part_number")
);
--> statement-breakpoint
CREATE TABLE "tenants" (
	"name" text PRIMARY KEY NOT NULL,
	"key_prefix" text NOT NULL,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL
);
--> statement-breakpoint
CREATE TABLE "uploads" (
	"id" text PRIMARY KEY NOT NULL,
	"tenant" text NOT NULL,
	"protocol" text NOT NULL,
	"state" text NOT NULL,
	"reason" text,
	"bucket" text NOT NULL,
	"key" text NOT NULL,
	"store_key" text NOT NULL,
	"store_upload_id" text,
	"token" text NOT NULL,
	"size" bigint,
	"layout" text,
	"part_size" bigint,
	"grow_every" integer,
	"max_part_size" bigint,
	"offset" bigint DEFAULT 0 NOT NULL,
	"contiguous_parts" integer DEFAULT 0 NOT NULL,
	"received_bytes" bigint DEFAULT 0 NOT NULL,
	"content_type" text,
	"metadata" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"digest_algorithm" text,
	"digest_value" text,
	"if_none_match" boolean DEFAULT false NOT NULL,
	"signed" boolean DEFAULT false NOT NULL,
	"self_completing" boolean DEFAULT false NOT NULL,
	"conflicted" boolean DEFAULT false NOT NULL,
	"writer_id" text,
	"writer_until" timestamp with time zone,
	"careful_until" timestamp with time zone,
	"careful_fragment_size" bigint,
	"session_hash" "bytea",
	"front" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"digest_state" text,
	"digest_offset" bigint DEFAULT 0 NOT NULL,
	"idempotency_key" text,
	"idempotency_hash" text,
	"etag" text,
	"claim_id" text,
	"claim_until" timestamp with time zone,
	"claimed_size" bigint,
	"claimed_digest_algorithm" text,
	"claimed_digest_value" text,
	"created_at" timestamp with time zone DEFAULT now() NOT NULL,
	"updated_at" timestamp with time zone DEFAULT now() NOT NULL,
	"last_write_at" timestamp with time zone,
	"work_due" timestamp with time zone,
	"completed_at" timestamp with time zone,
	"expires_at" timestamp with time zone NOT NULL,
	CONSTRAINT "uploads_offset_in_size" CHECK ("uploads"."size" is null or "uploads"."offset" <= "uploads"."size")
);
--> statement-breakpoint
ALTER TABLE "api_keys" ADD CONSTRAINT "api_keys_tenant_tenants_name_fk" FOREIGN KEY ("tenant") REFERENCES "public"."tenants"("name") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "fragments" ADD CONSTRAINT "fragments_upload_id_uploads_id_fk" FOREIGN KEY ("upload_id") REFERENCES "public"."uploads"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "parts" ADD CONSTRAINT "parts_upload_id_uploads_id_fk" FOREIGN KEY ("upload_id") REFERENCES "public"."uploads"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
CREATE UNIQUE INDEX "api_keys_hash" ON "api_keys" USING btree ("key_hash");--> statement-breakpoint
CREATE INDEX "fragments_of_slot" ON "fragments" USING btree ("upload_id","part_number","offset");--> statement-breakpoint
CREATE INDEX "fragments_by_offset" ON "fragments" USING btree ("upload_id","offset") WHERE "fragments"."state" = 'durable';--> statement-breakpoint
CREATE INDEX "fragments_to_sweep" ON "fragments" USING btree ("lease_until") WHERE "fragments"."state" <> 'durable';--> statement-breakpoint
CREATE INDEX "parts_by_offset" ON "parts" USING btree ("upload_id","offset") WHERE "parts"."etag" is not null;--> statement-breakpoint
CREATE UNIQUE INDEX "uploads_idempotency" ON "uploads" USING btree ("tenant","idempotency_key");--> statement-breakpoint
CREATE UNIQUE INDEX "uploads_one_completing" ON "uploads" USING btree ("bucket","store_key") WHERE "uploads"."state" = 'completing';--> statement-breakpoint
CREATE INDEX "uploads_session" ON "uploads" USING btree ("session_hash");--> statement-breakpoint
CREATE INDEX "uploads_by_name" ON "uploads" USING btree ("bucket","store_key","created_at");--> statement-breakpoint
CREATE INDEX "uploads_newest" ON "uploads" USING btree ("tenant","created_at","id");--> statement-breakpoint
CREATE INDEX "uploads_expiring" ON "uploads" USING btree ("expires_at");--> statement-breakpoint
CREATE INDEX "uploads_work" ON "uploads" USING btree ("work_due") WHERE "uploads"."work_due" is not null;--> statement-breakpoint
CREATE INDEX "uploads_claims" ON "uploads" USING btree ("claim_until") WHERE "uploads"."claim_until" is not null;