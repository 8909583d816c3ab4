-- The view for people, in words that older versions of the sqlite3 shell know too: `unixepoch('subsec')` came with 3.42,
-- and is NULL before.
DROP VIEW sessions;

CREATE VIEW sessions AS
SELECT 'k.' || lower(hex(substr(key, 1, 6)))                              AS handle,
       user_id, group_id, label,
       datetime(created_at / 1000000, 'unixepoch')                        AS created,
       datetime(accessed_at / 1000000, 'unixepoch')                       AS last_access,
       CASE WHEN ends_at < 9223372036854775807
            THEN coalesce(datetime(ends_at / 1000000, 'unixepoch'), 'later') ELSE 'never' END AS ends,
       ends_at <= CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER) AS expired,
       version, epoch,
       attributes,
       snapshot_kind, snapshot_schema, length(snapshot)                   AS snapshot_bytes,
       lower(hex(key))                                                    AS key
FROM session;
