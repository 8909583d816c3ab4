-- Live sessions by key.
WITH t AS MATERIALIZED ({now})
SELECT {columns}, snapshot_kind, snapshot_schema, snapshot
FROM {session} WHERE key = ANY($2::bytea[]) AND ends_at > (SELECT now FROM t)
