-- Each process holds an advisory lock of its own for as long as it is connected, and the ids of its leases begin with
-- that lock's number in hexadecimal: so the leases of a process that was killed need not run out first. Number 0 is
-- nobody's, and says nothing.
CREATE FUNCTION partway_is_dead(p_lease text) RETURNS boolean LANGUAGE sql STABLE AS $$
  SELECT p_lease ~ '^[0-9a-f]{32}$' AND left(p_lease, 8) <> '00000000' AND NOT EXISTS (
    SELECT FROM pg_locks
      WHERE locktype = 'advisory' AND granted AND objsubid = 2
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND classid::bigint = 1348563572
        AND objid::bigint = ('x' || left(p_lease, 8))::bit(32)::bigint)
$$;
--> statement-breakpoint
-- Ends what processes that are gone have leased of an upload; whether there was anything.
CREATE FUNCTION partway_end_dead_leases(p_upload text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  has_ended boolean := false;
BEGIN
  UPDATE uploads
    SET writer_until = CASE WHEN writer_until > now() AND partway_is_dead(writer_id) THEN now() ELSE writer_until END,
        claim_until = CASE WHEN claim_until > now() AND partway_is_dead(claim_id) THEN now() ELSE claim_until END
    WHERE id = p_upload AND (writer_until > now() AND partway_is_dead(writer_id)
                             OR claim_until > now() AND partway_is_dead(claim_id));
  has_ended := FOUND;
  UPDATE parts SET attempt_until = now()
    WHERE upload_id = p_upload AND attempt_until > now() AND partway_is_dead(attempt_id);
  has_ended := has_ended OR FOUND;
  UPDATE fragments SET lease_until = now()
    WHERE upload_id = p_upload AND state = 'pending' AND lease_until > now() AND partway_is_dead(attempt_id);
  RETURN has_ended OR FOUND;
END
$$;
