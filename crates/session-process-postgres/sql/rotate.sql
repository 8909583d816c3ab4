-- A session moves to another key. Its row was locked, and what has expired under that key was taken away.
WITH changed AS (
    UPDATE {session} AS s SET key = $3::bytea, first_key = coalesce(s.first_key, s.key),
        version = nextval({sequence_literal}) << 16 WHERE key = $2::bytea
    RETURNING s.key, s.version
), {told1}, gone AS (
    SELECT pg_notify({channel_literal}, $4::text || encode($2 || int8send($5::bigint) || $3, 'base64'))
)
SELECT key, version, (SELECT count(*) FROM told), (SELECT count(*) FROM gone) FROM changed
