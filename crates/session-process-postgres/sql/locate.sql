-- Where the live sessions are that were created under these keys.
WITH t AS MATERIALIZED ({now})
SELECT first_key, key FROM {session} WHERE first_key = ANY($2::bytea[]) AND ends_at > (SELECT now FROM t)
UNION ALL
SELECT key, key FROM {session}
WHERE key = ANY($2::bytea[]) AND first_key IS NULL AND ends_at > (SELECT now FROM t)
