-- Locks that nobody has had for a day. Whoever had one has heard long since that it is over.
DELETE FROM {lock} WHERE key IN (
    SELECT key FROM {lock} WHERE ends_at < {clock} - 86400000000 LIMIT $2::bigint FOR UPDATE SKIP LOCKED)
