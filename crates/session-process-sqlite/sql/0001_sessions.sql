-- Sessions, one row each. Times are microseconds since 1970 (UTC); 9223372036854775807 is "never".
-- For people: the views `sessions` and `session_attributes`.

CREATE TABLE session (
    id              INTEGER PRIMARY KEY,
    -- SHA-256 of the session's id. The id itself is a password and is nowhere in this file.
    key             BLOB    NOT NULL UNIQUE CHECK (length(key) = 32),
    -- Grows with every change, not with an access.
    version         INTEGER NOT NULL,
    -- Grows with every owner in a cluster.
    epoch           INTEGER NOT NULL DEFAULT 0,
    user_id         TEXT,
    group_id        TEXT,
    -- How its user tells it from others.
    label           TEXT,
    created_at      INTEGER NOT NULL,
    accessed_at     INTEGER NOT NULL,
    -- The two time limits: a point in time, and microseconds without an access. NULL: no such limit.
    expires_at      INTEGER,
    idle_timeout    INTEGER,
    -- What the two come to. From then on the session is absent, whether or not the row is still there.
    ends_at         INTEGER NOT NULL,
    -- When a sweep should look: never after ends_at. An access moves ends_at and leaves this, and its index, alone.
    sweep_at        INTEGER NOT NULL CHECK (sweep_at <= ends_at),
    -- JSON: {"name": {"value": ..., "version": 3, "expires_at": 1764028800000000}}
    attributes      TEXT    NOT NULL DEFAULT '{}',
    -- The state of the session's process, in the encoding of its type. Last, so that a list need not read past it.
    snapshot_kind   TEXT,
    snapshot_schema INTEGER,
    snapshot        BLOB
) STRICT;

-- A user's or a group's sessions in the order of their keys, a page at a time; and how many a user has.
CREATE INDEX session_by_user  ON session (user_id, key)  WHERE user_id IS NOT NULL;
CREATE INDEX session_by_group ON session (group_id, key) WHERE group_id IS NOT NULL;
-- What has expired. Sessions that never end are not in it.
CREATE INDEX session_by_sweep ON session (sweep_at) WHERE sweep_at < 9223372036854775807;

-- What the store remembers besides: one row.
CREATE TABLE store (
    id            INTEGER PRIMARY KEY CHECK (id = 1),
    -- No session that was removed had a greater version. A new session's version is above it, so that what was read
    -- of an earlier session under the same key never passes for current.
    version_floor INTEGER NOT NULL
) STRICT;
INSERT INTO store VALUES (1, 0);

CREATE VIEW sessions AS
SELECT 'k.' || lower(hex(substr(key, 1, 6)))                              AS handle,
       user_id, group_id, label,
       datetime(created_at / 1000000, 'unixepoch')                        AS created,
       datetime(accessed_at / 1000000, 'unixepoch')                       AS last_access,
       CASE WHEN ends_at < 9223372036854775807
            THEN coalesce(datetime(ends_at / 1000000, 'unixepoch'), 'later') ELSE 'never' END AS ends,
       ends_at <= CAST(unixepoch('subsec') * 1000000 AS INTEGER)          AS expired,
       version, epoch,
       attributes,
       snapshot_kind, snapshot_schema, length(snapshot)                   AS snapshot_bytes,
       lower(hex(key))                                                    AS key
FROM session;

CREATE VIEW session_attributes AS
SELECT 'k.' || lower(hex(substr(s.key, 1, 6)))                            AS handle,
       s.user_id,
       a.key                                                              AS name,
       a.value ->> '$.value'                                              AS value,
       a.value ->> '$.version'                                            AS version,
       datetime((a.value ->> '$.expires_at') / 1000000, 'unixepoch')      AS expires,
       lower(hex(s.key))                                                  AS key
FROM session AS s, json_each(s.attributes) AS a;
