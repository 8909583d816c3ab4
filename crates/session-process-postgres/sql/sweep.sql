-- Looks at rows whose sweep_at has come: removes those that have ended, and gives those that were used another one.
WITH t AS MATERIALIZED ({now}), due AS MATERIALIZED (
    SELECT key FROM {session}
    WHERE sweep_at <= (SELECT now FROM t) AND sweep_at < 9223372036854775807
    ORDER BY sweep_at LIMIT $3::bigint FOR UPDATE SKIP LOCKED
), changed AS (
    DELETE FROM {session} AS s USING due WHERE s.key = due.key AND s.ends_at <= (SELECT now FROM t)
    RETURNING s.key, s.version, s.user_id
), moved AS (
    UPDATE {session} AS s SET sweep_at = s.ends_at FROM due
    WHERE s.key = due.key AND s.ends_at > (SELECT now FROM t)
), {told}
SELECT c.key, c.version, c.user_id, (SELECT count(*) FROM told), (SELECT count(*) FROM due)
FROM (SELECT 1) AS one LEFT JOIN changed AS c ON true
