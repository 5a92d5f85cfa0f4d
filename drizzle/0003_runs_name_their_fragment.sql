-- Leases the first gap of a range and writes the pending row of the fragment that is to fill it. A run that is a fragment
-- names it: it can be read back.
CREATE OR REPLACE FUNCTION partway_begin_fragment(
  p_tenant text, p_upload text, p_part integer, p_slot_from bigint, p_slot_to bigint, p_part_size bigint,
  p_from bigint, p_to bigint, p_attempt text, p_lease_ms double precision, p_total bigint, p_writer text,
  p_fragment text, p_staging_key text,
  OUT outcome text, OUT upload uploads, OUT runs jsonb, OUT gap_from bigint, OUT gap_to bigint,
  OUT holder text, OUT retry_ms double precision
) LANGUAGE plpgsql AS $$
DECLARE
  entered record;
  slot parts%ROWTYPE;
  run record;
BEGIN
  SELECT * INTO entered FROM partway_enter_range(p_tenant, p_upload, p_to, p_from, p_part_size, p_total, p_writer, p_lease_ms);
  outcome := entered.outcome;
  upload := entered.upload;
  holder := entered.holder;
  retry_ms := entered.retry_ms;
  IF outcome <> 'may' THEN
    RETURN;
  END IF;
  outcome := 'begun';
  SELECT * INTO slot FROM parts WHERE upload_id = p_upload AND part_number = p_part FOR UPDATE;
  IF slot.etag IS NOT NULL THEN
    runs := coalesce(slot.runs, jsonb_build_array(jsonb_build_array(slot."offset", slot.size, slot.digests)));
    RETURN;
  END IF;
  gap_from := p_from;
  gap_to := p_to;
  runs := '[]';
  -- Of those that begin before the range only the last can reach into it: durable runs never overlap.
  FOR run IN
    (SELECT id, "offset", size, digests FROM fragments
       WHERE upload_id = p_upload AND part_number = p_part AND state = 'durable' AND "offset" <= p_from
       ORDER BY "offset" DESC LIMIT 1)
    UNION ALL
    (SELECT id, "offset", size, digests FROM fragments
       WHERE upload_id = p_upload AND part_number = p_part AND state = 'durable'
         AND "offset" > p_from AND "offset" < p_to
       ORDER BY "offset")
  LOOP
    runs := runs || jsonb_build_array(jsonb_build_array(run."offset", run.size, run.digests, run.id));
    IF run."offset" <= gap_from THEN
      gap_from := greatest(gap_from, run."offset" + run.size);
    ELSE
      gap_to := least(gap_to, run."offset");
    END IF;
  END LOOP;
  IF gap_from >= gap_to THEN
    gap_from := NULL;
    gap_to := NULL;
    RETURN;
  END IF;
  SELECT * INTO holder, retry_ms FROM partway_find_holder(p_upload, p_part, gap_from, gap_to);
  IF holder IS NOT NULL THEN
    outcome := 'occupied';
    RETURN;
  END IF;
  -- Whoever had the slot must not commit over what is stored from here on.
  UPDATE parts SET attempt_id = NULL, attempt_until = NULL, attempt_yields = false, doubtful = true
    WHERE upload_id = p_upload AND part_number = p_part AND attempt_id IS NOT NULL;
  INSERT INTO fragments (id, upload_id, part_number, "offset", size, state, staging_key, attempt_id, lease_until)
    VALUES (p_fragment, p_upload, p_part, gap_from, gap_to - gap_from, 'pending', p_staging_key, p_attempt,
            now() + p_lease_ms * interval '1 millisecond');
END
$$;
