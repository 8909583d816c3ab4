-- Live sessions by key. The clock is read once: a subquery that stands on its own is evaluated once for a statement. A CTE
-- would be, too, but it costs a lone load a fifth more.
SELECT {columns}, snapshot_kind, snapshot_schema, snapshot
FROM {session} WHERE key = ANY($2::bytea[]) AND ends_at > ({now})
