-- Accesses: forward only, and no index is touched.
UPDATE {session} AS s SET accessed_at = g.accessed_at, ends_at = {touched_end}
FROM unnest($2::bytea[], $3::bigint[]) AS g (key, accessed_at)
WHERE s.key = g.key AND s.accessed_at < g.accessed_at AND s.ends_at > ({now})
