-- The live sessions of some users, the one whose last access is longest ago first.
WITH t AS MATERIALIZED ({now})
SELECT key, version, user_id FROM {session}
WHERE user_id = ANY($2::text[]) AND ends_at > (SELECT now FROM t) ORDER BY user_id, accessed_at, key
