ALTER TABLE "parts" ADD COLUMN "attempt_since" timestamp with time zone;
--> statement-breakpoint
-- The attempt that held the slot last may have died or lost the records: what it sent may still land.
CREATE OR REPLACE FUNCTION partway_lease_slot(p_upload text, p_part integer, p_attempt text, p_lease_ms double precision)
RETURNS void LANGUAGE sql AS $$
  INSERT INTO parts (upload_id, part_number, attempt_id, attempt_until, attempt_since)
    VALUES (p_upload, p_part, p_attempt, now() + p_lease_ms * interval '1 millisecond', now())
    ON CONFLICT (upload_id, part_number) DO UPDATE
      SET attempt_id = excluded.attempt_id, attempt_until = excluded.attempt_until,
          attempt_since = excluded.attempt_since, attempt_yields = false,
          doubtful = parts.doubtful OR parts.attempt_id IS NOT NULL
$$;
