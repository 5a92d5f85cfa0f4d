-- A writer's last commit ends its term: it costs no round trip of its own. The functions without
-- p_ends_writer stay for gateways of the version before.
CREATE FUNCTION partway_commit_part(
  p_upload text, p_part integer, p_attempt text,
  p_offset bigint, p_size bigint, p_etag text, p_digests jsonb, p_fixes_size boolean,
  p_runs jsonb, p_writer text, p_ends_writer boolean, p_chain_end bigint, p_chain_state text,
  OUT outcome text, OUT upload uploads
) LANGUAGE plpgsql AS $$
DECLARE
  u uploads%ROWTYPE;
  slot parts%ROWTYPE;
  following record;
  before bigint;
BEGIN
  SELECT * INTO u FROM uploads WHERE id = p_upload FOR UPDATE;
  IF NOT FOUND OR u.state <> 'open' THEN
    outcome := 'not_open';
    RETURN;
  END IF;
  SELECT * INTO slot FROM parts WHERE upload_id = p_upload AND part_number = p_part FOR UPDATE;
  IF NOT FOUND OR slot.attempt_id IS DISTINCT FROM p_attempt
     OR p_writer IS NOT NULL AND u.writer_id IS DISTINCT FROM p_writer THEN
    outcome := 'displaced';
    RETURN;
  END IF;
  before := coalesce(slot.size, (
    SELECT sum(size) FROM fragments WHERE upload_id = p_upload AND part_number = p_part AND state = 'durable'), 0);
  IF u.size IS NULL AND p_fixes_size AND (
    EXISTS (SELECT FROM parts WHERE upload_id = p_upload AND part_number > p_part AND etag IS NOT NULL)
    OR EXISTS (SELECT FROM fragments WHERE upload_id = p_upload AND state = 'durable' AND "offset" + size > p_offset + p_size)
  ) OR p_fixes_size AND p_offset + p_size <> u.size OR (
    CASE u.layout
      WHEN 'planned' THEN p_offset + p_size
      ELSE u.received_bytes + p_size - before
    END
  ) > u.size THEN
    outcome := 'size_conflict';
    RETURN;
  END IF;

  UPDATE parts
    SET "offset" = p_offset, size = p_size, etag = p_etag, digests = p_digests, runs = p_runs, stored_at = now(),
        attempt_id = NULL, attempt_until = NULL, attempt_yields = false
    WHERE upload_id = p_upload AND part_number = p_part;
  UPDATE fragments SET state = 'retired', lease_until = now() + interval '1 minute'
    WHERE upload_id = p_upload AND part_number = p_part AND state = 'durable';

  u.received_bytes := u.received_bytes + p_size - before;
  IF p_part <= u.contiguous_parts THEN
    u."offset" := u."offset" + CASE u.layout WHEN 'free' THEN p_size - before ELSE 0 END;
  ELSIF p_part = u.contiguous_parts + 1 THEN
    u.contiguous_parts := p_part;
    u."offset" := u."offset" + CASE u.layout WHEN 'free' THEN p_size ELSE 0 END;
    FOR following IN
      SELECT part_number, size FROM parts
        WHERE upload_id = p_upload AND part_number > p_part AND etag IS NOT NULL ORDER BY part_number
    LOOP
      EXIT WHEN following.part_number <> u.contiguous_parts + 1;
      u.contiguous_parts := following.part_number;
      u."offset" := u."offset" + CASE u.layout WHEN 'free' THEN following.size ELSE 0 END;
    END LOOP;
  END IF;
  IF u.layout = 'planned' THEN
    u."offset" := partway_advance(p_upload, u."offset", p_offset, p_offset + p_size);
  END IF;

  UPDATE uploads
    SET received_bytes = u.received_bytes, contiguous_parts = u.contiguous_parts, "offset" = u."offset",
        size = CASE WHEN u.size IS NULL AND p_fixes_size THEN p_offset + p_size ELSE u.size END,
        digest_offset = CASE WHEN p_chain_end > u.digest_offset AND p_chain_end <= u."offset"
                          THEN p_chain_end ELSE u.digest_offset END,
        digest_state = CASE WHEN p_chain_end > u.digest_offset AND p_chain_end <= u."offset"
                         THEN p_chain_state ELSE u.digest_state END,
        work_due = CASE WHEN u.self_completing AND u.received_bytes = coalesce(u.size, p_offset + p_size)
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
CREATE FUNCTION partway_commit_fragment(
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
BEGIN
  SELECT * INTO u FROM uploads WHERE id = p_upload FOR UPDATE;
  IF NOT FOUND OR u.state <> 'open' THEN
    outcome := 'not_open';
    RETURN;
  END IF;
  SELECT * INTO f FROM fragments WHERE id = p_fragment FOR UPDATE;
  IF NOT FOUND OR f.state <> 'pending' OR f.attempt_id <> p_attempt OR p_size > f.size
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
