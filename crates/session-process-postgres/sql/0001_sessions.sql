-- Sessions, one row each. Times are microseconds since 1970 (UTC); 9223372036854775807 is "never".
-- For people: the view {sessions}.

-- A version is (a number of this sequence) * 65536 + (changes since it was drawn). A session draws one when it is
-- created, rotated, or was changed 65,536 times. So no version is ever given twice, also after a deletion, and a
-- change of a session needs the sequence hardly ever. 2^47 numbers: 100,000 new sessions a second for 44 years.
CREATE SEQUENCE {sequence} AS bigint MAXVALUE 140737488355327;

-- No table has a CHECK: PostgreSQL makes the expression of each anew for every statement that writes a row, which is a
-- tenth of a lone change. A key of another length is refused where it is read.
CREATE TABLE {session} (
    -- SHA-256 of the session's id. The id itself is a password and is nowhere in this database.
    key             bytea    NOT NULL CONSTRAINT {pkey} PRIMARY KEY,
    -- Grows with every change, not with an access.
    version         bigint   NOT NULL,
    -- The version that it was created with: that of each attribute that names none.
    born            bigint   NOT NULL,
    -- Grows with every owner in a cluster.
    epoch           bigint   NOT NULL DEFAULT 0,
    created_at      bigint   NOT NULL,
    accessed_at     bigint   NOT NULL,
    -- The two time limits: a point in time, and microseconds without an access. NULL: no such limit.
    expires_at      bigint,
    idle_timeout    bigint,
    -- What the two come to. From then on the session is absent, whether or not the row is still there.
    ends_at         bigint   NOT NULL,
    -- When a sweep should look: never after ends_at. An access moves ends_at and leaves this, and its index, alone.
    sweep_at        bigint   NOT NULL,
    -- The earliest end of an attribute.
    attributes_end  bigint   NOT NULL DEFAULT 9223372036854775807,
    -- By bytes: an owner is found as it was written, whatever the language of the database.
    user_id         text     COLLATE "C",
    group_id        text     COLLATE "C",
    -- How its user tells it from others.
    label           text     COLLATE "C",
    -- JSON: {"name": {"value": ..., "version": 65537, "expires_at": 1764028800000000}}. As text, which keeps every
    -- value byte for byte.
    attributes      text     NOT NULL DEFAULT '{}',
    -- The state of the session's process, in the encoding of its type.
    snapshot_kind   text     COLLATE "C",
    snapshot_schema bigint,
    snapshot        bytea
) WITH (
    -- A change writes the row anew. With room for it on the same page, and no indexed column changed, no index is
    -- touched (a "heap-only tuple"), and the next visitor of the page clears the old row away without a vacuum.
    fillfactor = 70,
    -- Rows die quickly here. A vacuum of little work often, instead of one of much work after a fifth has changed.
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_threshold = 1000,
    autovacuum_analyze_scale_factor = 0.1,
    toast.autovacuum_vacuum_scale_factor = 0.02,
    toast.autovacuum_vacuum_threshold = 1000
);

-- A user's or a group's sessions in the order of their keys, a page at a time; and how many a user has.
CREATE INDEX {by_user}  ON {session} (user_id, key)  WHERE user_id IS NOT NULL;
CREATE INDEX {by_group} ON {session} (group_id, key) WHERE group_id IS NOT NULL;
-- What has expired. Sessions that never end are not in it.
CREATE INDEX {by_sweep} ON {session} (sweep_at) WHERE sweep_at < 9223372036854775807;

CREATE VIEW {sessions} AS
SELECT 'k.' || encode(substr(key, 1, 6), 'hex')                                  AS handle,
       user_id, group_id, label,
       to_timestamp(created_at / 1000000.0)                                      AS created,
       to_timestamp(accessed_at / 1000000.0)                                     AS last_access,
       CASE WHEN ends_at < 9000000000000000 THEN to_timestamp(ends_at / 1000000.0)
            ELSE 'infinity' END                                                  AS ends,
       version, epoch, attributes, snapshot_kind, snapshot_schema, length(snapshot) AS snapshot_bytes,
       encode(key, 'hex')                                                        AS key
FROM {session};
