-- A fragment that is only expected keeps nobody from its place: its row names the object that may come, and whether the
-- place is still free is asked when it is committed.
CREATE OR REPLACE FUNCTION partway_commit_fragment(
  p_upload text, p_fragment text, p_attempt text, p_size bigint, p_digests jsonb,
  p_slot_from bigint, p_slot_to bigint, p_compose_attempt text, p_lease_ms double precision,
  p_writer text, p_ends_writer boolean, p_chain_end bigint, p_chain_state text,
  OUT outcome text, OUT upload uploads, OUT pieces jsonb
) LANGUAGE plpgsql AS $$
DECLARE
  u uploads%ROWTYPE;
  f fragments%ROWTYPE;
  slot parts%ROWTYPE;
  reached bigint;
  is_covered boolean;
  other text;
BEGIN
  SELECT * INTO u FROM uploads WHERE id = p_upload FOR UPDATE;
  IF NOT FOUND OR u.state <> 'open' THEN
    outcome := 'not_open';
    RETURN;
  END IF;
  SELECT * INTO f FROM fragments WHERE id = p_fragment FOR UPDATE;
  IF NOT FOUND OR f.state NOT IN ('pending', 'expected') OR f.attempt_id <> p_attempt OR p_size > f.size
     OR p_writer IS NOT NULL AND u.writer_id IS DISTINCT FROM p_writer THEN
    outcome := 'displaced';
    RETURN;
  END IF;
  -- The size may have been told since the range was leased.
  IF f."offset" + p_size > u.size THEN
    outcome := 'size_conflict';
    RETURN;
  END IF;
  SELECT * INTO slot FROM parts WHERE upload_id = p_upload AND part_number = f.part_number FOR UPDATE;
  IF slot.etag IS NOT NULL THEN
    outcome := 'displaced';
    RETURN;
  END IF;
  IF f.state = 'expected' THEN
    -- Others were not kept from its place: whoever has leased any of it, or stored it, came first.
    SELECT holder INTO other FROM partway_find_holder(p_upload, f.part_number, f."offset", f."offset" + p_size);
    IF other IS NOT NULL OR EXISTS (
      SELECT FROM fragments WHERE upload_id = p_upload AND part_number = f.part_number AND state = 'durable'
        AND "offset" > f."offset" AND "offset" < f."offset" + p_size
    ) OR (
      -- Of those that begin before it only the last can reach into it: durable runs never overlap.
      SELECT "offset" + size > f."offset" FROM fragments
        WHERE upload_id = p_upload AND part_number = f.part_number AND state = 'durable' AND "offset" <= f."offset"
        ORDER BY "offset" DESC LIMIT 1
    ) THEN
      outcome := 'displaced';
      RETURN;
    END IF;
    IF slot.attempt_id IS NOT NULL THEN
      -- Its lease ran out. It must not commit over what is stored from here on.
      UPDATE parts SET attempt_id = NULL, attempt_until = NULL, attempt_yields = false, doubtful = true
        WHERE upload_id = p_upload AND part_number = f.part_number;
    END IF;
  END IF;
  UPDATE fragments SET state = 'durable', size = p_size, digests = p_digests, lease_until = NULL WHERE id = p_fragment;
  reached := partway_advance(p_upload, u."offset", f."offset", f."offset" + p_size);
  IF reached > f."offset" THEN
    -- All before it is durable: nothing needs to be counted.
    is_covered := reached >= least(p_slot_to, u.size);
  ELSE
    SELECT sum(size) = least(p_slot_to, u.size) - p_slot_from INTO is_covered FROM fragments
      WHERE upload_id = p_upload AND part_number = f.part_number AND state = 'durable';
  END IF;
  IF is_covered AND (slot.attempt_id IS NULL OR slot.attempt_until <= now()) THEN
    PERFORM partway_lease_slot(p_upload, f.part_number, p_compose_attempt, p_lease_ms);
    pieces := partway_pieces(p_upload, f.part_number);
  END IF;
  UPDATE uploads
    SET received_bytes = u.received_bytes + p_size,
        "offset" = reached,
        digest_offset = CASE WHEN p_chain_end > u.digest_offset AND p_chain_end <= reached
                          THEN p_chain_end ELSE u.digest_offset END,
        digest_state = CASE WHEN p_chain_end > u.digest_offset AND p_chain_end <= reached
                         THEN p_chain_state ELSE u.digest_state END,
        work_due = CASE WHEN pieces IS NOT NULL OR u.received_bytes + p_size = u.size
                     THEN now() + interval '1 minute' ELSE u.work_due END,
        writer_id = CASE WHEN p_ends_writer THEN NULL ELSE writer_id END,
        writer_until = CASE WHEN p_ends_writer THEN NULL ELSE writer_until END,
        last_write_at = now(), updated_at = now()
    WHERE id = p_upload
    RETURNING * INTO upload;
  outcome := 'committed';
END
$$;
--> statement-breakpoint
-- Makes a fragment durable, and writes the row of the one that is expected next: where a client sends its chunks one after
-- the other, each costs one round trip. Not where any of its place is durable or leased.
CREATE FUNCTION partway_commit_fragment_and_expect(
  p_upload text, p_fragment text, p_attempt text, p_size bigint, p_digests jsonb,
  p_slot_from bigint, p_slot_to bigint, p_compose_attempt text, p_lease_ms double precision,
  p_writer text, p_ends_writer boolean, p_chain_end bigint, p_chain_state text,
  p_next_part integer, p_next_from bigint, p_next_to bigint, p_next_fragment text, p_next_staging_key text,
  p_next_attempt text,
  OUT outcome text, OUT upload uploads, OUT pieces jsonb, OUT is_expected boolean
) LANGUAGE plpgsql AS $$
DECLARE
  committed record;
BEGIN
  SELECT * INTO committed FROM partway_commit_fragment(
    p_upload, p_fragment, p_attempt, p_size, p_digests, p_slot_from, p_slot_to, p_compose_attempt, p_lease_ms,
    p_writer, p_ends_writer, p_chain_end, p_chain_state);
  outcome := committed.outcome;
  upload := committed.upload;
  pieces := committed.pieces;
  is_expected := false;
  IF outcome = 'committed' AND upload.size >= p_next_to AND NOT EXISTS (
    SELECT FROM parts WHERE upload_id = p_upload AND part_number = p_next_part
      AND (etag IS NOT NULL OR attempt_id IS NOT NULL)
  ) AND NOT EXISTS (
    -- What is durable ends where the range begins: no run before it reaches into it, and none of them needs to be looked at.
    SELECT FROM fragments WHERE upload_id = p_upload AND part_number = p_next_part AND state = 'durable'
      AND "offset" >= p_next_from AND "offset" < p_next_to
  ) AND NOT EXISTS (
    SELECT FROM fragments WHERE upload_id = p_upload AND part_number = p_next_part AND state = 'pending'
      AND "offset" < p_next_to AND "offset" + size > p_next_from
  ) THEN
    INSERT INTO fragments (id, upload_id, part_number, "offset", size, state, staging_key, attempt_id, lease_until)
      VALUES (p_next_fragment, p_upload, p_next_part, p_next_from, p_next_to - p_next_from, 'expected',
              p_next_staging_key, p_next_attempt, now() + p_lease_ms * interval '1 millisecond');
    is_expected := true;
  END IF;
END
$$;
