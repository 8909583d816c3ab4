-- Live sessions by key.
SELECT {columns}, snapshot_kind, snapshot_schema, snapshot
FROM {session} WHERE key = ANY($2::bytea[]) AND ends_at > ({now})
