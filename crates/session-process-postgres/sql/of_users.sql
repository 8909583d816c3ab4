-- The live sessions of some users, the one whose last access is longest ago first.
SELECT key, version, user_id FROM {session}
WHERE user_id = ANY($2::text[]) AND ends_at > ({now}) ORDER BY user_id, accessed_at, key
