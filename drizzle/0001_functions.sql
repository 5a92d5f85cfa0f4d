-- What is committed moves the upload's counters in the same transaction. In functions each is one round trip, and each
-- statement sees what was committed before it: commits of one upload are serial from the first lock on, so exactly
-- one of them sees a slot, or the whole, covered.

-- Moves the contiguous offset of a planned layout over the durable range that was just committed, and what follows it.
CREATE FUNCTION partway_advance(p_upload text, p_at bigint, p_from bigint, p_to bigint) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
  reached bigint := p_at;
  step bigint;
BEGIN
  IF p_from > reached OR p_to < reached THEN
    RETURN reached;
  END IF;
  reached := p_to;
  LOOP
    SELECT size INTO step FROM parts
      WHERE upload_id = p_upload AND "offset" = reached AND etag IS NOT NULL AND size > 0;
    IF NOT FOUND THEN
      SELECT size INTO step FROM fragments WHERE upload_id = p_upload AND "offset" = reached AND state = 'durable';
    END IF;
    EXIT WHEN NOT FOUND;
    reached := reached + step;
  END LOOP;
  RETURN reached;
END
$$;
--> statement-breakpoint
-- Records a part and ends its attempt. A slot's fragments are retired: the part has their bytes.
CREATE FUNCTION partway_commit_part(
  p_upload text, p_part integer, p_attempt text,
  p_offset bigint, p_size bigint, p_etag text, p_digests jsonb, p_fixes_size boolean,
  p_runs jsonb, p_writer text, p_chain_end bigint, p_chain_state text,
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
        last_write_at = now(), updated_at = now()
    WHERE id = p_upload
    RETURNING * INTO upload;
  outcome := 'committed';
END
$$;
--> statement-breakpoint
-- What beginning a part and beginning a fragment have in common: the upload is locked, its size told, its writer known.
-- `outcome` is 'may' where the range may be leased.
CREATE FUNCTION partway_enter_range(
  p_tenant text, p_upload text, p_to bigint, p_from bigint, p_part_size bigint, p_total bigint,
  p_writer text, p_lease_ms double precision,
  OUT outcome text, OUT upload uploads, OUT holder text, OUT retry_ms double precision
) LANGUAGE plpgsql AS $$
BEGIN
  SELECT * INTO upload FROM uploads WHERE id = p_upload AND tenant = p_tenant FOR UPDATE;
  IF NOT FOUND THEN
    outcome := 'not_found';
    RETURN;
  END IF;
  IF upload.state <> 'open' THEN
    outcome := 'not_open';
    RETURN;
  END IF;
  IF upload.layout IS DISTINCT FROM 'planned' OR upload.part_size <> p_part_size THEN
    outcome := 'other_layout';
    RETURN;
  END IF;
  IF p_to > upload.size OR p_total <> upload.size OR p_total < p_to
     OR upload.size IS NULL AND partway_reach(p_upload) > p_total THEN
    outcome := 'size_conflict';
    RETURN;
  END IF;
  IF p_writer IS NOT NULL AND upload.writer_id <> p_writer AND upload.writer_until > now() THEN
    outcome := 'occupied_by_writer';
    holder := upload.writer_id;
    retry_ms := extract(epoch FROM upload.writer_until - now()) * 1000;
    RETURN;
  END IF;
  -- The writer itself begins a slot while the store confirms the one before.
  IF p_writer IS NOT NULL AND upload.writer_id IS DISTINCT FROM p_writer AND p_from > upload."offset" THEN
    outcome := 'gap';
    RETURN;
  END IF;
  IF p_writer IS NOT NULL OR upload.size IS NULL AND p_total IS NOT NULL THEN
    UPDATE uploads
      SET size = coalesce(p_total, size),
          work_due = CASE WHEN self_completing AND p_total = received_bytes THEN now() + interval '1 minute'
                       ELSE work_due END,
          writer_id = coalesce(p_writer, writer_id),
          writer_until = CASE WHEN p_writer IS NULL THEN writer_until
                           ELSE now() + p_lease_ms * interval '1 millisecond' END
      WHERE id = p_upload
      RETURNING * INTO upload;
  END IF;
  outcome := 'may';
END
$$;
--> statement-breakpoint
-- The end of the last durable byte, whatever holes lie before it.
CREATE FUNCTION partway_reach(p_upload text) RETURNS bigint LANGUAGE sql STABLE AS $$
  SELECT greatest(
    coalesce((SELECT "offset" + size FROM parts WHERE upload_id = p_upload AND etag IS NOT NULL
                ORDER BY "offset" DESC NULLS LAST LIMIT 1), 0),
    coalesce((SELECT "offset" + size FROM fragments WHERE upload_id = p_upload AND state = 'durable'
                ORDER BY "offset" DESC LIMIT 1), 0))
$$;
--> statement-breakpoint
-- Who has a slot, or a part of the range in it. Leases of fragments that ran out are closed: theirs died, and what they
-- sent may land still, so their objects are deleted later.
CREATE FUNCTION partway_find_holder(
  p_upload text, p_part integer, p_from bigint, p_to bigint, OUT holder text, OUT retry_ms double precision
) LANGUAGE plpgsql AS $$
BEGIN
  UPDATE fragments SET state = 'retired', lease_until = now() + interval '2 minutes'
    WHERE upload_id = p_upload AND part_number = p_part AND state = 'pending' AND lease_until <= now();
  SELECT attempt_id, extract(epoch FROM until - now()) * 1000 INTO holder, retry_ms FROM (
    SELECT attempt_id, attempt_until AS until FROM parts
      WHERE upload_id = p_upload AND part_number = p_part AND attempt_id IS NOT NULL AND attempt_until > now()
    UNION ALL
    SELECT attempt_id, lease_until FROM fragments
      WHERE upload_id = p_upload AND part_number = p_part AND state = 'pending'
        AND "offset" < p_to AND "offset" + size > p_from
  ) AS live LIMIT 1;
END
$$;
--> statement-breakpoint
-- Leases the first gap of a range and writes the pending row of the fragment that is to fill it.
CREATE FUNCTION partway_begin_fragment(
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
    (SELECT "offset", size, digests FROM fragments
       WHERE upload_id = p_upload AND part_number = p_part AND state = 'durable' AND "offset" <= p_from
       ORDER BY "offset" DESC LIMIT 1)
    UNION ALL
    (SELECT "offset", size, digests FROM fragments
       WHERE upload_id = p_upload AND part_number = p_part AND state = 'durable'
         AND "offset" > p_from AND "offset" < p_to
       ORDER BY "offset")
  LOOP
    runs := runs || jsonb_build_array(jsonb_build_array(run."offset", run.size, run.digests));
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
--> statement-breakpoint
-- Leases a slot for a part, if the range is all of it and nothing of it is durable or under way.
CREATE FUNCTION partway_begin_part(
  p_tenant text, p_upload text, p_part integer, p_slot_from bigint, p_slot_to bigint, p_part_size bigint,
  p_from bigint, p_to bigint, p_attempt text, p_lease_ms double precision, p_total bigint, p_writer text,
  OUT outcome text, OUT upload uploads, OUT holder text, OUT retry_ms double precision
) LANGUAGE plpgsql AS $$
DECLARE
  entered record;
  slot parts%ROWTYPE;
BEGIN
  SELECT * INTO entered FROM partway_enter_range(p_tenant, p_upload, p_to, p_from, p_part_size, p_total, p_writer, p_lease_ms);
  outcome := entered.outcome;
  upload := entered.upload;
  holder := entered.holder;
  retry_ms := entered.retry_ms;
  IF outcome <> 'may' THEN
    RETURN;
  END IF;
  SELECT * INTO slot FROM parts WHERE upload_id = p_upload AND part_number = p_part FOR UPDATE;
  IF p_from <> p_slot_from OR p_to <> least(p_slot_to, upload.size) OR slot.etag IS NOT NULL OR EXISTS (
    SELECT FROM fragments WHERE upload_id = p_upload AND part_number = p_part AND state = 'durable'
  ) THEN
    outcome := 'not_whole';
    RETURN;
  END IF;
  SELECT * INTO holder, retry_ms FROM partway_find_holder(p_upload, p_part, p_from, p_to);
  IF holder IS NOT NULL THEN
    outcome := 'occupied';
    RETURN;
  END IF;
  PERFORM partway_lease_slot(p_upload, p_part, p_attempt, p_lease_ms);
  outcome := 'begun';
END
$$;
--> statement-breakpoint
-- A lease that ran out belongs to a process that died or lost the records: what it sent may still land.
CREATE FUNCTION partway_lease_slot(p_upload text, p_part integer, p_attempt text, p_lease_ms double precision)
RETURNS void LANGUAGE sql AS $$
  INSERT INTO parts (upload_id, part_number, attempt_id, attempt_until)
    VALUES (p_upload, p_part, p_attempt, now() + p_lease_ms * interval '1 millisecond')
    ON CONFLICT (upload_id, part_number) DO UPDATE
      SET attempt_id = excluded.attempt_id, attempt_until = excluded.attempt_until, attempt_yields = false,
          doubtful = parts.doubtful OR parts.attempt_id IS NOT NULL
$$;
--> statement-breakpoint
-- Makes a pending fragment durable, in the length that came. Whoever's commit covers the slot composes it.
CREATE FUNCTION partway_commit_fragment(
  p_upload text, p_fragment text, p_attempt text, p_size bigint, p_digests jsonb,
  p_slot_from bigint, p_slot_to bigint, p_compose_attempt text, p_lease_ms double precision,
  p_writer text, p_chain_end bigint, p_chain_state text,
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
        last_write_at = now(), updated_at = now()
    WHERE id = p_upload
    RETURNING * INTO upload;
  outcome := 'committed';
END
$$;
--> statement-breakpoint
-- The durable fragments of a slot, in order.
CREATE FUNCTION partway_pieces(p_upload text, p_part integer) RETURNS jsonb LANGUAGE sql STABLE AS $$
  SELECT jsonb_agg(jsonb_build_object('id', id, 'partNumber', part_number, 'offset', "offset", 'sizeBytes', size,
                                      'digests', digests, 'stagingKey', staging_key) ORDER BY "offset")
    FROM fragments WHERE upload_id = p_upload AND part_number = p_part AND state = 'durable'
$$;
--> statement-breakpoint
-- Leases a slot that fragments cover to whoever composes it, unless somebody does; its fragments, or null.
CREATE FUNCTION partway_claim_covered(p_upload text, p_part integer, p_attempt text, p_lease_ms double precision)
RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
  slot parts%ROWTYPE;
BEGIN
  PERFORM FROM uploads WHERE id = p_upload AND state = 'open' FOR UPDATE;
  IF NOT FOUND THEN
    RETURN NULL;
  END IF;
  SELECT * INTO slot FROM parts WHERE upload_id = p_upload AND part_number = p_part FOR UPDATE;
  IF slot.etag IS NOT NULL OR slot.attempt_id IS NOT NULL AND slot.attempt_until > now() THEN
    RETURN NULL;
  END IF;
  PERFORM partway_lease_slot(p_upload, p_part, p_attempt, p_lease_ms);
  RETURN partway_pieces(p_upload, p_part);
END
$$;
--> statement-breakpoint
-- The size of the whole, told without bytes. Locked first: what is judged must be what the last commit left.
CREATE FUNCTION partway_tell_size(p_upload text, p_size bigint, OUT upload uploads) LANGUAGE plpgsql AS $$
BEGIN
  SELECT * INTO upload FROM uploads WHERE id = p_upload FOR UPDATE;
  IF upload.state = 'open' AND upload.size IS NULL AND partway_reach(p_upload) <= p_size THEN
    UPDATE uploads
      SET size = p_size, updated_at = now(),
          work_due = CASE WHEN self_completing AND received_bytes = p_size THEN now() + interval '1 minute'
                       ELSE work_due END
      WHERE id = p_upload
      RETURNING * INTO upload;
  END IF;
END
$$;
