-- The two ends of a rotation, locked in the order of their keys.
SELECT s.key, s.version, s.epoch, s.ends_at > ({now})
FROM {session} AS s WHERE s.key = ANY($2::bytea[]) ORDER BY s.key FOR UPDATE OF s
