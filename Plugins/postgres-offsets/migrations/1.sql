-- Version 1: where groups stand.
CREATE TABLE @schema@.offsets (
  tenant       text COLLATE "C" NOT NULL,
  group_name   text COLLATE "C" NOT NULL,
  topic_id     uuid NOT NULL,
  partition    integer NOT NULL CHECK (partition >= 0),
  next_offset  bigint NOT NULL CHECK (next_offset >= 0),
  leader_epoch integer NOT NULL DEFAULT 0,
  metadata     text NOT NULL DEFAULT '',
  committed_ms bigint NOT NULL DEFAULT 0,
  member_epoch integer NOT NULL CHECK (member_epoch >= 0),
  PRIMARY KEY (tenant, group_name, topic_id, partition)
) WITH (fillfactor = 70); -- room for updates in place: a row is written thousands of times
