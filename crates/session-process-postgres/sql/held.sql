-- Which of these rows somebody else holds just now.
WITH free AS MATERIALIZED (
    SELECT key FROM {session} WHERE key = ANY($1::bytea[]) FOR UPDATE SKIP LOCKED
)
SELECT key FROM {session} AS s WHERE key = ANY($1::bytea[]) AND NOT EXISTS (SELECT FROM free WHERE free.key = s.key)
