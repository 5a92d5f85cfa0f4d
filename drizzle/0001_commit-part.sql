-- Records a part, ends its attempt and moves the upload's counters. In a function it is one round trip, and each
-- statement sees what was committed before it: commits of one upload are serial from the first lock on, so exactly
-- one of them sees a slot, or the whole, covered.
CREATE FUNCTION partway_commit_part(
  p_upload text, p_part integer, p_attempt text,
  p_offset bigint, p_size bigint, p_etag text, p_digests jsonb, p_fixes_size boolean,
  OUT outcome text, OUT contiguous_offset bigint
) LANGUAGE plpgsql AS $$
DECLARE
  u uploads%ROWTYPE;
  slot parts%ROWTYPE;
  following record;
BEGIN
  SELECT * INTO u FROM uploads WHERE id = p_upload FOR UPDATE;
  IF NOT FOUND OR u.state <> 'open' THEN
    outcome := 'not_open';
    RETURN;
  END IF;
  SELECT * INTO slot FROM parts WHERE upload_id = p_upload AND part_number = p_part FOR UPDATE;
  IF NOT FOUND OR slot.attempt_id IS DISTINCT FROM p_attempt THEN
    outcome := 'displaced';
    RETURN;
  END IF;
  IF u.size IS NULL AND p_fixes_size AND EXISTS (
    SELECT FROM parts WHERE upload_id = p_upload AND part_number > p_part AND etag IS NOT NULL
  ) OR p_fixes_size AND p_offset + p_size <> u.size OR (
    CASE u.layout
      WHEN 'planned' THEN p_offset + p_size
      ELSE u.received_bytes + p_size - coalesce(slot.size, 0)
    END
  ) > u.size THEN
    outcome := 'size_conflict';
    RETURN;
  END IF;

  UPDATE parts
    SET "offset" = p_offset, size = p_size, etag = p_etag, digests = p_digests, stored_at = now(),
        attempt_id = NULL, attempt_until = NULL, attempt_yields = false
    WHERE upload_id = p_upload AND part_number = p_part;

  u.received_bytes := u.received_bytes + p_size - coalesce(slot.size, 0);
  IF p_part <= u.contiguous_parts THEN
    u."offset" := u."offset" + p_size - coalesce(slot.size, 0);
  ELSIF p_part = u.contiguous_parts + 1 THEN
    u.contiguous_parts := p_part;
    u."offset" := u."offset" + p_size;
    FOR following IN
      SELECT part_number, size FROM parts
        WHERE upload_id = p_upload AND part_number > p_part AND etag IS NOT NULL ORDER BY part_number
    LOOP
      EXIT WHEN following.part_number <> u.contiguous_parts + 1;
      u.contiguous_parts := following.part_number;
      u."offset" := u."offset" + following.size;
    END LOOP;
  END IF;

  UPDATE uploads
    SET received_bytes = u.received_bytes, contiguous_parts = u.contiguous_parts, "offset" = u."offset",
        size = CASE WHEN u.size IS NULL AND p_fixes_size THEN p_offset + p_size ELSE u.size END,
        last_write_at = now(), updated_at = now()
    WHERE id = p_upload;
  outcome := 'committed';
  contiguous_offset := u."offset";
END
$$;
