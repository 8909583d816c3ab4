-- Deletions. What is not returned was not there, or not as expected.
WITH changed AS (
    DELETE FROM {session} AS s USING unnest($3::bytea[], $4::bigint[], $5::bigint[])
        WITH ORDINALITY AS g (key, version, epoch, nth)
    WHERE s.key = g.key AND (g.version IS NULL OR s.version = g.version) AND (g.epoch IS NULL OR s.epoch = g.epoch)
      AND s.ends_at > ({now})
    RETURNING s.key, s.version, {part}
), {parts}
