-- Makes a fragment durable, and leases a range behind it for the one that is expected next: where a client sends its
-- chunks one after the other, each costs one round trip. Nothing is leased where any of the range is durable or under way.
CREATE FUNCTION partway_commit_fragment_and_lease(
  p_upload text, p_fragment text, p_attempt text, p_size bigint, p_digests jsonb,
  p_slot_from bigint, p_slot_to bigint, p_compose_attempt text, p_lease_ms double precision,
  p_writer text, p_ends_writer boolean, p_chain_end bigint, p_chain_state text,
  p_next_part integer, p_next_from bigint, p_next_to bigint, p_next_fragment text, p_next_staging_key text,
  p_next_attempt text,
  OUT outcome text, OUT upload uploads, OUT pieces jsonb, OUT is_leased boolean
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
  is_leased := false;
  -- The upload is locked since: nobody else leases anything of it meanwhile.
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
      VALUES (p_next_fragment, p_upload, p_next_part, p_next_from, p_next_to - p_next_from, 'pending',
              p_next_staging_key, p_next_attempt, now() + p_lease_ms * interval '1 millisecond');
    is_leased := true;
  END IF;
END
$$;
