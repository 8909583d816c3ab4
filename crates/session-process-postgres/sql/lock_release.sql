-- Gives a lock up, with a newer token: nothing is changed under the old one any more. Tells whoever waits.
WITH held AS MATERIALIZED (
    SELECT key, awaited FROM {lock} WHERE key = $2::bytea AND holder = $3::bytea AND ends_at > {clock} FOR NO KEY UPDATE
), freed AS (
    UPDATE {lock} AS l SET ends_at = {clock}, token = nextval({lock_token_literal}), awaited = false
    FROM held WHERE l.key = held.key
    RETURNING l.key, held.awaited
), told AS (
    SELECT pg_notify({channel_literal}, $4::text || encode(key, 'base64')) FROM freed WHERE awaited
)
SELECT (SELECT count(*) FROM freed), (SELECT count(*) FROM told)
