-- Sessions move to other keys. Their rows were locked, and what has expired under those keys was taken away.
WITH changed AS (
    UPDATE {session} AS s SET key = g.new_key, first_key = coalesce(s.first_key, s.key),
        version = nextval({sequence_literal}) << 16
    FROM unnest($3::bytea[], $4::bytea[], $5::bigint[]) WITH ORDINALITY AS g (key, new_key, version, nth)
    WHERE s.key = g.key
    RETURNING s.key, s.version, {part}, g.key AS old_key, g.version AS old_version, g.nth
), moved AS (
    SELECT pg_notify({channel_literal},
                     $1::text || encode(string_agg(old_key || int8send(old_version) || key, ''::bytea), 'base64'))
    FROM changed GROUP BY (nth - 1) / {moves_together}
), {parts}, (SELECT count(*) FROM moved) AS told
