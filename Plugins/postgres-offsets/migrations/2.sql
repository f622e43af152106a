-- Version 2: commits inside a consumer's own transaction; the fence is a function, one for the broker and for consumers.

-- A claimed partition that nobody has committed yet has no offset.
ALTER TABLE @schema@.offsets ALTER COLUMN next_offset DROP NOT NULL;

-- Who may commit for which group by skein_commit and skein_claim: roles that log in.
CREATE TABLE @schema@.committers (
  role_name  name NOT NULL,
  tenant     text COLLATE "C" NOT NULL,
  group_name text COLLATE "C" NOT NULL,
  PRIMARY KEY (role_name, tenant, group_name)
);

-- One batch, whole or not at all. Epoch 0 is nobody's: a reset, a move; it is taken whatever is stored.
CREATE FUNCTION @schema@.commit_offsets(
  p_tenant text, p_group text, p_epoch integer, p_topics uuid[], p_partitions integer[], p_offsets bigint[],
  p_leader_epochs integer[], p_metadata text[], p_committed_ms bigint[]
) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  written bigint;
BEGIN
  INSERT INTO @schema@.offsets AS o
    (tenant, group_name, topic_id, partition, next_offset, leader_epoch, metadata, committed_ms, member_epoch)
  SELECT p_tenant, p_group, n.*, p_epoch
    FROM unnest(p_topics, p_partitions, p_offsets, p_leader_epochs, p_metadata, p_committed_ms)
      AS n(topic_id, partition, next_offset, leader_epoch, metadata, committed_ms)
    ORDER BY 3, 4 -- rows are locked in one order: no deadlock between two batches
  ON CONFLICT (tenant, group_name, topic_id, partition) DO UPDATE SET
    next_offset = excluded.next_offset, leader_epoch = excluded.leader_epoch, metadata = excluded.metadata,
    committed_ms = excluded.committed_ms, member_epoch = excluded.member_epoch
  WHERE p_epoch = 0 OR o.member_epoch < p_epoch
    OR (o.member_epoch = p_epoch AND (o.next_offset IS NULL OR o.next_offset <= excluded.next_offset));
  GET DIAGNOSTICS written = ROW_COUNT;
  IF written <> cardinality(p_topics) THEN
    RAISE EXCEPTION 'skein: % of % offset(s) of group "%" are held by a newer member epoch than %, or are further on',
        cardinality(p_topics) - written, cardinality(p_topics), p_group, p_epoch
      USING ERRCODE = 'SK001', HINT = 'This member has lost the partition: stop, and join the group again.';
  END IF;
END $$;

CREATE FUNCTION @schema@.check_committer(p_tenant text, p_group text, p_epoch integer) RETURNS void
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF p_epoch IS NULL OR p_epoch < 1 THEN
    RAISE EXCEPTION 'skein: member epoch % is none; it comes with the assignment and is at least 1', coalesce(p_epoch::text, 'NULL')
      USING ERRCODE = '22023';
  END IF;
  IF NOT EXISTS (SELECT FROM @schema@.committers c
                 WHERE c.role_name = session_user AND c.tenant = p_tenant AND c.group_name = p_group) THEN
    RAISE EXCEPTION 'skein: role % may not commit for group "%" of tenant "%"', session_user, p_group, p_tenant
      USING ERRCODE = '42501',
        HINT = format('INSERT INTO @schema@.committers VALUES (%L, %L, %L);', session_user, p_tenant, p_group);
  END IF;
END $$;

-- For a consumer, inside its own transaction: the offset moves if and when the transaction commits.
CREATE FUNCTION @schema@.skein_commit(
  tenant text, group_name text, topic_id uuid, partition integer, next_offset bigint, member_epoch integer,
  metadata text DEFAULT ''
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM @schema@.check_committer($1, $2, $6);
  PERFORM @schema@.commit_offsets($1, $2, $6, ARRAY[$3], ARRAY[$4], ARRAY[$5], ARRAY[0], ARRAY[$7],
    ARRAY[(extract(epoch FROM clock_timestamp()) * 1000)::bigint]);
END $$;

-- For a consumer, once a partition is assigned to it: shuts out members of older epochs before this one has committed
-- anything, and gives the offset from which to go on; NULL: none was ever committed.
CREATE FUNCTION @schema@.skein_claim(
  tenant text, group_name text, topic_id uuid, partition integer, member_epoch integer
) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  found_offset bigint;
BEGIN
  PERFORM @schema@.check_committer($1, $2, $5);
  INSERT INTO @schema@.offsets AS o (tenant, group_name, topic_id, partition, next_offset, member_epoch)
    VALUES ($1, $2, $3, $4, NULL, $5)
  ON CONFLICT ON CONSTRAINT offsets_pkey DO UPDATE SET member_epoch = excluded.member_epoch
    WHERE o.member_epoch <= excluded.member_epoch
  RETURNING o.next_offset INTO found_offset;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'skein: partition % of group "%" is held by a newer member epoch than %', $4, $2, $5
      USING ERRCODE = 'SK001', HINT = 'This member has lost the partition: stop, and join the group again.';
  END IF;
  RETURN found_offset;
END $$;

-- Who calls them is the operator's decision: see Docs/offset-stores.md.
REVOKE ALL ON FUNCTION @schema@.commit_offsets(text, text, integer, uuid[], integer[], bigint[], integer[], text[], bigint[]),
  @schema@.check_committer(text, text, integer),
  @schema@.skein_commit(text, text, uuid, integer, bigint, integer, text),
  @schema@.skein_claim(text, text, uuid, integer, integer) FROM PUBLIC;
